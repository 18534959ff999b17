//! `[subscription.NAME.limits]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Size;

/// What an event may measure. One that exceeds it becomes a dead letter with its raw bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// The greatest payload.
    #[schemars(extend("x-minimum" = "1B", "x-maximum" = "1GiB"))]
    pub payload_max: Size,

    /// The most headers.
    #[schemars(range(max = 10_000))]
    pub headers_max: u32,

    /// All headers together, names and values.
    #[schemars(extend("x-minimum" = "0B", "x-maximum" = "16MiB"))]
    pub header_bytes_max: Size,

    /// How deep a JSON payload may be nested.
    #[schemars(range(min = 1, max = 127))]
    pub depth_max: u32,

    /// The longest key.
    #[schemars(extend("x-minimum" = "1B", "x-maximum" = "64KiB"))]
    pub key_bytes_max: Size,

    /// The longest id.
    #[schemars(extend("x-minimum" = "1B", "x-maximum" = "2KiB"))]
    pub id_bytes_max: Size,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            payload_max: Size::mib(1),
            headers_max: 64,
            header_bytes_max: Size::kib(64),
            depth_max: 64,
            key_bytes_max: Size::kib(1),
            id_bytes_max: Size::b(512),
        }
    }
}
