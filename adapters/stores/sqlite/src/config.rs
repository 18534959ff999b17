//! The store's keys in the configuration: `[store.sqlite]`.

use keylane::config::{Component, Period};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A store in a SQLite file, for services on one machine.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["path"]))]
pub struct SqliteConfig {
    /// The file. It is created where it does not exist; its folder must exist. The service's own tables
    /// may lie in the same file.
    #[schemars(length(min = 1))]
    pub path: String,
    /// How long the recorded writes of one transaction may take together. They hold the file's one writer:
    /// more than a third of `runtime.session` is refused. Left out: that third.
    #[schemars(extend("x-minimum" = "10ms", "x-maximum" = "1m"))]
    pub effect_limit: Option<Period>,
}

impl Component for SqliteConfig {}
