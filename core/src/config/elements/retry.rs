//! `[subscription.NAME.retry]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Findings, Period};

/// What happens after a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// How often an event is tried in all before its attempts are used up.
    #[schemars(range(min = 1, max = 1000))]
    pub attempts_max: u32,

    /// The longest first wait.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "1d"))]
    pub delay: Period,

    /// The longest wait. For now no longer than `in_lane_max`: longer waits need the parking table,
    /// which is not there yet.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "30d"))]
    pub delay_max: Period,

    /// How long an event may wait in its lane for its next attempt.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "10m"))]
    pub in_lane_max: Period,

    /// What happens when an event has used up its attempts. No default where the broker keeps an
    /// order: there it must be said. Elsewhere left out means `skip`.
    pub on_exhausted: Option<OnExhausted>,

    /// How many deaths of a worker one event may be found started in before it becomes a dead letter.
    #[schemars(range(min = 1, max = 100))]
    pub crashes_max: u32,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts_max: 8,
            delay: Period::millis(200),
            delay_max: Period::secs(5),
            in_lane_max: Period::secs(5),
            on_exhausted: None,
            crashes_max: 3,
        }
    }
}

/// What happens when an event has used up its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(extend("x-later" = serde_json::json!({
    "hold": "holding the key's later events back needs the parking table"
})))]
pub enum OnExhausted {
    /// It becomes a dead letter, and the later events of its key go on.
    Skip,
    /// The subscription stops, with the event unsettled, until somebody acts.
    Stop,
}

impl RetryConfig {
    pub(super) fn check(&self, found: &mut Findings) {
        let Self { delay, delay_max, in_lane_max, .. } = self;
        if delay > delay_max {
            found.wrong(
                "delay",
                format!("is {delay}, longer than delay_max ({delay_max}); shorten it or raise delay_max"),
            );
        }
        if delay_max > in_lane_max {
            found.wrong(
                "delay_max",
                format!(
                    "is {delay_max}, longer than in_lane_max ({in_lane_max}), and longer waits need the parking \
                     table, which is not there yet; write at most {in_lane_max} or raise in_lane_max"
                ),
            );
        }
    }

    /// What is wrong with `on_exhausted` in an ordered subscription, if it is one.
    #[must_use]
    pub fn order_fault(&self, ordered: bool) -> Option<&'static str> {
        (ordered && self.on_exhausted.is_none()).then_some(
            "is missing, and the broker keeps an order; write `stop` (the subscription stops until somebody acts) or \
             `skip` (the event becomes a dead letter and its key goes on)",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(config: &RetryConfig) -> Vec<String> {
        let mut found = Findings::default();
        config.check(&mut found);
        found.iter().map(|(key, _)| key.to_owned()).collect()
    }

    #[test]
    fn waits_that_do_not_fit_each_other_are_refused() {
        let fine = RetryConfig::default();
        assert!(faults(&fine).is_empty());
        assert_eq!(faults(&RetryConfig { delay: Period::secs(6), ..fine.clone() }), ["delay"]);
        assert_eq!(faults(&RetryConfig { delay_max: Period::secs(6), ..fine.clone() }), ["delay_max"]);
        assert!(faults(&RetryConfig { delay: Period::secs(5), ..fine }).is_empty());
    }

    #[test]
    fn an_ordered_subscription_must_choose() {
        let open = RetryConfig::default();
        assert!(open.order_fault(false).is_none());
        let fault = open.order_fault(true).unwrap();
        assert!(fault.contains("`stop`") && fault.contains("`skip`"), "{fault}");
        assert!(RetryConfig { on_exhausted: Some(OnExhausted::Stop), ..open }.order_fault(true).is_none());
    }
}
