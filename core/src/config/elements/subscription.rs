//! `[subscription.NAME]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BudgetConfig, EventConfig, LedgerConfig, LimitsConfig, RetryConfig, Start};
use crate::config::{Component, Findings, Period};

/// A subscription, under the name it has in the code: every event of one source, handled once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["source"]))]
pub struct SubscriptionConfig {
    /// The name of the broker that is read. Left out: the only one there is.
    pub broker: Option<String>,

    /// What is read: a topic, queue, subscription or stream of the broker.
    #[schemars(length(min = 1, max = 255))]
    pub source: String,

    /// The consumers that share the source's events. Left out: the subscription's name.
    #[schemars(length(min = 1, max = 255))]
    pub group: Option<String>,

    /// How many events are handled at the same time, each of another key.
    #[schemars(range(min = 1, max = 100_000))]
    pub concurrency: u32,

    /// Where a group that has no position yet begins: `earliest`, `latest`, or at a time such as
    /// `2026-01-31T12:00:00Z`.
    pub start: Start,

    /// What happens to an event of a kind that no handler is there for.
    pub unknown_kind: UnknownKind,

    /// Among whom the events of one key are handled one at a time.
    pub lock: Lock,

    /// Whether the next event of a key may start before the previous one's writes are committed. Right
    /// only where handlers read nothing that they write. Writes still commit in the order of the key; when
    /// one fails, the later events that ran ahead of it run again after it.
    pub ahead: bool,

    /// How long one attempt of a handler may take. It is then dropped at its next await, and the
    /// attempt has failed.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "1d"))]
    pub timeout: Period,

    /// Where the facts of an event are found. What is left out comes from the CloudEvents attributes
    /// of an event that has them.
    pub event: EventConfig,

    /// How it is known which events are finished.
    pub ledger: LedgerConfig,

    /// What happens after a failure. Waits grow exponentially, with full jitter: each is a random part
    /// of `delay`, of twice `delay`, and so on up to `delay_max`.
    pub retry: RetryConfig,

    /// What an event may measure. One that exceeds it becomes a dead letter with its raw bytes.
    pub limits: LimitsConfig,

    /// How much may be in flight: pulled and not yet settled. At a budget the source is paused, where
    /// it has partitions the one partition, and goes on when there is room.
    pub budget: BudgetConfig,
}

impl Default for SubscriptionConfig {
    fn default() -> Self {
        Self {
            broker: None,
            source: String::new(),
            group: None,
            concurrency: 64,
            start: Start::default(),
            unknown_kind: UnknownKind::default(),
            lock: Lock::default(),
            ahead: false,
            timeout: Period::secs(30),
            event: EventConfig::default(),
            ledger: LedgerConfig::default(),
            retry: RetryConfig::default(),
            limits: LimitsConfig::default(),
            budget: BudgetConfig::default(),
        }
    }
}

impl Component for SubscriptionConfig {
    fn check(&self, found: &mut Findings) {
        found.under("event", |found| self.event.check(found));
        found.under("retry", |found| self.retry.check(found));
        found.under("budget", |found| self.budget.check(self.concurrency, &self.limits, found));
    }
}

impl SubscriptionConfig {
    /// How many events may be in flight.
    #[must_use]
    pub fn messages_max(&self) -> u32 {
        self.budget.messages_max(self.concurrency)
    }

    /// How many events may wait because of a failed one.
    #[must_use]
    pub fn waiting_max(&self) -> u32 {
        self.budget.waiting_max(self.concurrency)
    }

    /// How many events of one key may be in flight.
    #[must_use]
    pub fn per_key_max(&self) -> u32 {
        self.budget.per_key_max(self.concurrency)
    }
}

/// What happens to an event of a kind that no handler is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownKind {
    /// It becomes a dead letter.
    #[default]
    Dead,
    /// It is finished unhandled.
    Skip,
}

/// Among whom the events of one key are handled one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lock {
    /// Among all workers, by the store.
    #[default]
    Store,
    /// Within this worker only.
    Local,
}
