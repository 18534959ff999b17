//! The store's keys in the configuration: `[store.sqlite]`.

use keylane::config::{Component, Period};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A store in a SQLite file, for services on one machine.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["path"]))]
pub struct SqliteConfig {
    /// The file. It is created where it does not exist; its folder must exist. The service's own tables
    /// may lie in the same file.
    #[schemars(length(min = 1))]
    pub path: String,
    /// How long the recorded writes of one event may take. They hold the file's one writer: a third of
    /// the session's lifetime is too long.
    #[schemars(extend("x-minimum" = "10ms", "x-maximum" = "1m"))]
    pub effect_limit: Period,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        Self { path: String::new(), effect_limit: Period::secs(5) }
    }
}

impl Component for SqliteConfig {}
