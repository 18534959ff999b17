//! `[subscription.NAME.ledger]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Period;

/// How it is known which events are finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerConfig {
    /// By what a finished event is known.
    pub mode: LedgerMode,

    /// How long finished ids are remembered. Longer than the broker may hand over an event again, and
    /// than a producer may repeat one. Positions are remembered without end.
    #[schemars(extend("x-minimum" = "1m", "x-maximum" = "3650d"))]
    pub keep: Period,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self { mode: LedgerMode::default(), keep: Period::days(7) }
    }
}

/// By what a finished event is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LedgerMode {
    /// By its id: catches a producer's or a relay's duplicates too.
    #[default]
    Id,
    /// By its position in the log: nearly free, for sources whose producers repeat nothing.
    Position,
    /// By nothing: an event that comes twice is handled twice. Only for brokers without partitions.
    Off,
}
