//! One event inside the worker, from admission to its end.

use std::sync::Arc;

use crate::delivery::Ticket;
use crate::env::{Instant, Timestamp};
use crate::event::{Envelope, PayloadHash};
use crate::lanes;
use crate::store::{AttemptRow, Death, Parked, ParkedId, SessionId};
use crate::text::Text;

use super::tenure::Tenure;

pub(crate) struct Item {
    /// Seeded hash of (partition, key): with claims, a key belongs to its partition (rule S8).
    pub(crate) hash: u64,
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) tenure: Arc<Tenure>,
    /// The payload's digest where the ledger is by id.
    pub(crate) ledger: Option<PayloadHash>,
    /// What it is charged with against the budget.
    pub(crate) bytes: u32,
    /// The right to settle it, where each delivery is settled on its own.
    pub(crate) ticket: Option<Ticket>,
    /// Counts among what is in flight under its id (rule A3).
    pub(crate) flying: bool,
    /// Counts as waiting instead of in flight.
    pub(crate) aside: bool,
    /// The broker does not say that this is the first time that it hands it over: it may have been begun.
    pub(crate) again: bool,
    /// What most events don't have: tries, a verdict before its turn, a parked row.
    pub(crate) history: Option<Box<History>>,
}

/// What is known of an event beyond its first, quiet delivery.
#[derive(Default)]
pub(crate) struct History {
    /// Tries that counted.
    pub(crate) attempts: u32,
    /// Times in a row that a dependency was away.
    pub(crate) refusals: u32,
    /// Deaths of a worker while it ran (rule T1).
    pub(crate) crashes: u32,
    pub(crate) first_at: Option<Timestamp>,
    /// Not to be tried before this.
    pub(crate) not_before: Option<Instant>,
    /// What the last try said, outermost first.
    pub(crate) failures: Vec<String>,
    /// The store has a row of its attempts, to be cleared when it ends.
    pub(crate) row: bool,
    /// To be marked as started before it runs (rule T1).
    pub(crate) mark: Mark,
    /// Its places among those that are marked and not over.
    pub(crate) marked: Option<tokio::sync::OwnedSemaphorePermit>,
    /// Dead before it ran.
    pub(crate) dead: Option<(Death, String)>,
    /// The parked row it was released from.
    pub(crate) parked: Option<Box<Parked>>,
    /// Runs in a unit of its own, because the unit it was in failed without a culprit.
    pub(crate) alone: bool,
}

/// Rule T1: the mark that lets a death be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mark {
    /// Not needed.
    #[default]
    None,
    /// Needed before it runs.
    Wanted,
    /// Durable: it may run.
    Made,
}

impl Item {
    pub(crate) fn history(&mut self) -> &mut History {
        self.history.get_or_insert_default()
    }

    /// Its mark as started is in the store (rule T1).
    pub(crate) fn is_marked(&self) -> bool {
        self.history.as_ref().is_some_and(|history| history.mark == Mark::Made)
    }

    /// It does not run for now: its place among the marked is free, and it is marked anew before it does (rule T1).
    pub(crate) fn unmark(&mut self) {
        if let Some(history) = self.history.as_deref_mut().filter(|history| history.mark == Mark::Made) {
            history.mark = Mark::Wanted;
            history.marked = None;
        }
    }

    /// Until when it waits, if it does at `now`.
    pub(crate) fn not_before(&self, now: Instant) -> Option<Instant> {
        let until = self.history.as_ref()?.not_before?;
        (until > now).then_some(until)
    }

    /// Runs in a unit of its own.
    pub(crate) fn is_alone(&self) -> bool {
        self.history.as_ref().is_some_and(|history| history.alone)
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.history.as_ref().map_or(0, |history| history.attempts)
    }

    pub(crate) fn offset(&self) -> u64 {
        self.envelope.meta.place.offset
    }

    /// Nothing but its position has to be written when it is done: no ledger row, no attempts to
    /// clear, no parked row to take.
    pub(crate) fn is_plain(&self) -> bool {
        self.ledger.is_none()
            && self.history.as_ref().is_none_or(|history| !history.row && history.parked.is_none())
    }

    pub(crate) fn attempt_row(&self, now: Timestamp, started_by: Option<SessionId>) -> AttemptRow {
        let history = self.history.as_deref();
        AttemptRow {
            generation: self.generation(),
            offset: self.offset(),
            id: self.id(),
            attempts: self.attempts(),
            crashes: history.map_or(0, |history| history.crashes),
            started_by,
            first_at: history.and_then(|history| history.first_at).unwrap_or(now),
            failure: history.map(|history| history.failures.join(": ")).unwrap_or_default(),
        }
    }

    /// The generation in which it was read, be it before the parking table.
    fn generation(&self) -> u64 {
        let parked = self.history.as_ref().and_then(|history| history.parked.as_deref());
        parked.map_or(self.tenure.generation, |parked| parked.generation)
    }

    /// The parked row that it was released from.
    pub(crate) fn released_from(&self) -> Option<ParkedId> {
        Some(self.history.as_ref()?.parked.as_ref()?.parked_id())
    }

    pub(crate) fn id(&self) -> Text {
        if mutant!("l1-ledger-keyed-wrongly") {
            let id = self.envelope.meta.id.to_text();
            return Text::from(id.rsplit('/').next().unwrap_or_default().to_owned());
        }
        self.envelope.meta.id.to_text()
    }

    /// The row of a dead letter: the event as it came, and all that is known of its failure.
    pub(crate) fn dead_letter(&self, death: Death, worker: &str, now: Timestamp) -> Parked {
        let meta = &self.envelope.meta;
        let history = self.history.as_deref();
        let row = self.attempt_row(now, None);
        Parked {
            scope: self.tenure.scope().clone(),
            partition: meta.place.partition,
            // One that ran from the parking table goes back under its name.
            generation: row.generation,
            offset: meta.place.offset,
            id: row.id,
            key: meta.lane_key(),
            kind: meta.kind.clone(),
            sequence: meta.sequence,
            record: self.envelope.record(),
            payload: self.ledger.unwrap_or_else(|| PayloadHash::of(self.envelope.body())),
            reason: crate::store::Reason::Dead(death),
            attempts: row.attempts,
            crashes: row.crashes,
            failures: history.map(|history| history.failures.clone()).unwrap_or_default(),
            first_at: row.first_at,
            parked_at: now,
            worker: worker.to_owned(),
        }
    }
}

impl lanes::Item for Item {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn bytes(&self) -> usize {
        self.bytes as usize
    }
}
