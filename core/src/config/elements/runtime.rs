//! `[runtime]`.

use std::num::NonZeroU16;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Component, Findings, Period};

/// What holds for the whole worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RuntimeConfig {
    /// Into how many shards the lanes are divided, each of them one task. Left out: one for each
    /// processor.
    #[schemars(range(min = 1, max = 1024))]
    pub shards: Option<NonZeroU16>,

    /// How long the worker's session lives without being renewed. A worker that dies or is cut off
    /// loses its keys after this time; one that is paused for longer can commit nothing of what it
    /// had begun.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "10m"))]
    pub session: Period,

    /// How long handlers may go on with events of a partition that another worker is to take over,
    /// before they are cancelled.
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "10m"))]
    pub grace: Period,

    /// How long a new owner of a partition waits for a previous one that lives but does not release
    /// it. At least `session` and `grace` together.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "1h"))]
    pub handover_max: Period,

    /// How long a worker that is told to stop finishes what it has begun. What is left then comes
    /// again, to this or another worker.
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "1h"))]
    pub drain_max: Period,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            shards: None,
            session: Period::secs(15),
            grace: Period::secs(5),
            handover_max: Period::secs(30),
            drain_max: Period::secs(30),
        }
    }
}

impl Component for RuntimeConfig {
    fn check(&self, found: &mut Findings) {
        // Rule S5: an owner that is cut off from the broker alone must have had its grace, and one
        // that died must be told from it by its session.
        let least = self.session.saturating_add(self.grace);
        if self.handover_max < least {
            let (is, session, grace) = (self.handover_max, self.session, self.grace);
            found.wrong(
                "handover_max",
                format!("is {is}, less than session ({session}) and grace ({grace}); write at least {least}"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s5_handover_shorter_than_session_and_grace_is_refused() {
        let mut found = Findings::default();
        let config = RuntimeConfig { session: Period::secs(26), ..RuntimeConfig::default() };
        config.check(&mut found);
        insta::assert_debug_snapshot!(found.iter().collect::<Vec<_>>(), @r#"
        [
            (
                "handover_max",
                "is 30s, less than session (26s) and grace (5s); write at least 31s",
            ),
        ]
        "#);
        let mut found = Findings::default();
        RuntimeConfig { session: Period::secs(25), ..config }.check(&mut found);
        assert!(found.is_empty());
    }
}
