//! What the runtime needs to know, whatever it was read from.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::{ConsumerSpec, Reset};
use crate::config::Section;
use crate::event::Rules;
use crate::middleware::RetryPolicy;
use crate::middleware::chain::UnknownKind;
use crate::store::Scope;

/// One subscription.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) name: Arc<str>,
    pub(crate) group: Arc<str>,
    /// What claims, positions and ledger rows belong to.
    pub(crate) scope: Scope,
    pub(crate) reset: Reset,
    /// Handler calls at a time.
    pub(crate) concurrency: usize,
    /// Of one handler call.
    pub(crate) timeout: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) unknown: UnknownKind,
    /// One lease for all keys, instead of one for each (`lock = "local"`).
    pub(crate) local: bool,
    pub(crate) ledger: LedgerMode,
    /// The next event of a key may start before its predecessor's writes are committed (rule C5).
    pub(crate) ahead: bool,
    /// How long the ledger remembers.
    pub(crate) keep: Duration,
    pub(crate) budget: BudgetSettings,
    pub(crate) rules: Rules,
    /// The adapter's own keys.
    pub(crate) adapter: Section,
}

impl Settings {
    /// What its consumer is made for; `beside`: so many deliveries more may be unsettled than the budget holds.
    pub(crate) fn consumer_spec(&self, beside: usize) -> ConsumerSpec {
        ConsumerSpec {
            subscription: self.name.clone(),
            source: self.scope.source.clone(),
            group: self.group.clone(),
            reset: self.reset,
            unsettled_max: self.budget.messages + self.budget.waiting_messages + beside,
            prefetch_bytes_max: self.budget.bytes,
            settings: self.adapter.clone(),
        }
    }
}

/// By what a finished event is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LedgerMode {
    /// By its id: also catches what a producer or relay sent twice.
    Id,
    /// By its place in the log: nearly free.
    Position,
    /// By nothing: what comes twice is handled twice.
    Off,
}

/// What may be in flight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BudgetSettings {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    /// Of one key, before its partition is paused.
    pub(crate) per_key: usize,
    /// What may wait because of a failed event, apart from what is in flight.
    pub(crate) waiting_messages: usize,
    pub(crate) waiting_bytes: usize,
    /// How far beyond the first unfinished event a partition is read, in offsets.
    pub(crate) window: usize,
}

impl BudgetSettings {
    /// The part of one home where there are several (rule S10): together they have what one would have.
    pub(crate) fn share(&self, homes: usize) -> Self {
        let messages = self.messages.div_ceil(homes);
        Self {
            messages,
            bytes: self.bytes.div_ceil(homes),
            per_key: self.per_key.min((messages / 2).max(1)),
            waiting_messages: self.waiting_messages.div_ceil(homes),
            waiting_bytes: self.waiting_bytes.div_ceil(homes),
            window: self.window,
        }
    }
}

/// The worker as a whole.
#[derive(Debug, Clone)]
pub(crate) struct WorkerSettings {
    /// For people: host, process, service.
    pub(crate) name: Arc<str>,
    /// How long the store keeps a session that is not renewed.
    pub(crate) session: Duration,
    /// How long running handlers may go on when a partition is to go elsewhere.
    pub(crate) grace: Duration,
    /// How long a live owner may keep a claim that others want (rule S5).
    pub(crate) handover: Duration,
    /// How long a shutdown waits for what runs.
    pub(crate) drain: Duration,
    /// Tasks that own lanes, per subscription.
    pub(crate) shards: usize,
    /// How often old ledger rows are looked for.
    pub(crate) sweep_every: Duration,
}
