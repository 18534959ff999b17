//! `[subscription.NAME.budget]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LimitsConfig;
use crate::config::{Findings, Size};

/// How much may be in memory: in flight (pulled and not yet settled), and waiting because an event of
/// their key failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetConfig {
    /// The most events. Left out: five times `concurrency`, so that distinct keys are found, and at
    /// least 8192.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub messages_max: Option<u32>,

    /// The most bytes of payloads, keys and headers.
    #[schemars(extend("x-minimum" = "1KiB", "x-maximum" = "1TiB"))]
    pub bytes_max: Size,

    /// The most events of one key. Left out: half of `messages_max`. A key that backs off is bounded by
    /// `waiting_max` instead.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub per_key_max: Option<u32>,

    /// The most events that wait for their next attempt, or behind one that does. They don't count as in
    /// flight, so that a few failing keys leave the others going. Left out: eight times `messages_max`.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub waiting_max: Option<u32>,

    /// The most bytes of these.
    #[schemars(extend("x-minimum" = "1KiB", "x-maximum" = "1TiB"))]
    pub waiting_bytes_max: Size,
}

/// Below this many a commit groups too little.
const MESSAGES_LEAST: u32 = 8192;

impl Default for BudgetConfig {
    fn default() -> Self {
        let (bytes_max, waiting_bytes_max) = (Size::mib(64), Size::mib(64));
        Self { messages_max: None, bytes_max, per_key_max: None, waiting_max: None, waiting_bytes_max }
    }
}

impl BudgetConfig {
    pub(super) fn messages_max(&self, concurrency: u32) -> u32 {
        self.messages_max.unwrap_or_else(|| concurrency.saturating_mul(5).max(MESSAGES_LEAST))
    }

    pub(super) fn per_key_max(&self, concurrency: u32) -> u32 {
        self.per_key_max.unwrap_or_else(|| (self.messages_max(concurrency) / 2).max(1))
    }

    pub(super) fn waiting_max(&self, concurrency: u32) -> u32 {
        self.waiting_max.unwrap_or_else(|| self.messages_max(concurrency).saturating_mul(8))
    }

    pub(super) fn check(&self, concurrency: u32, limits: &LimitsConfig, found: &mut Findings) {
        let messages = self.messages_max(concurrency);
        if messages < concurrency {
            found.wrong(
                "messages_max",
                format!("is {messages}, less than concurrency ({concurrency}), so that some of it would never be used; raise it"),
            );
        }
        if let Some(per_key) = self.per_key_max.filter(|per_key| *per_key > messages) {
            found
                .wrong("per_key_max", format!("is {per_key}, more than messages_max ({messages}); lower it"));
        }
        let one = limits.payload_max.bytes() + limits.header_bytes_max.bytes() + limits.key_bytes_max.bytes();
        if self.bytes_max.bytes() < one {
            let (is, one) = (self.bytes_max, Size::b(one));
            found.wrong(
                "bytes_max",
                format!("is {is}, less than one event may have by its limits; write at least {one}"),
            );
        }
    }
}
