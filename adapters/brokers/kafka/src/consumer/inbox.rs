//! Where the polling thread leaves what it has and whoever pulls finds it.
//!
//! One lock an exchange of many records. Assignment changes overtake deliveries: what is still here of
//! a partition that goes away is discarded, so that nothing of it appears after its change.

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keylane::broker::{Change, Handback, Partition, Pulled};
use rdkafka::error::KafkaError;
use tokio::sync::Notify;

use super::pauses::Pauses;
use crate::delivery::Run;

/// Beyond this a larger hand-over saves nothing.
const PORTION: usize = 512 * 1024;

/// Shared between the polling thread and the consumer's handle.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    arrived: Notify,
    /// Wakes the polling thread where it waits for room.
    nudged: Condvar,
    /// Bytes to be pulled above which the polling thread stops reading ahead.
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    /// At most two for each partition: see [`State::forget_unseen`].
    changes: VecDeque<Change>,
    runs: VecDeque<Run>,
    records: usize,
    bytes: usize,
    pauses: Pauses,
    fault: Option<KafkaError>,
    nudge: bool,
    ended: bool,
}

/// What a look into the inbox found.
pub(super) enum Found {
    Pulled(Pulled),
    Fault(KafkaError),
    Ended,
    Nothing,
}

impl Inbox {
    pub(super) fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), arrived: Notify::new(), nudged: Condvar::new(), limit }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // Whoever pulls.

    /// Takes what there is, at most `credits` deliveries. Nothing is taken before it is returned, so a
    /// dropped wait loses nothing.
    pub(super) fn take(&self, credits: usize) -> Found {
        let mut state = self.state();
        if let Some(change) = state.changes.pop_front() {
            return Found::Pulled(Pulled::Change(change));
        }
        if let Some(fault) = &state.fault {
            return Found::Fault(fault.clone());
        }
        let deliveries = state.deliveries(credits);
        if !deliveries.is_empty() {
            // Not at every take: who is woken for a little room is woken often.
            if state.ready() <= self.limit / 2 {
                self.nudged.notify_one();
            }
            return Found::Pulled(Pulled::Deliveries(deliveries));
        }
        if state.ended { Found::Ended } else { Found::Nothing }
    }

    /// Waits until a look may find something. A notice that came before is kept.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// The fault turned out to be none, or passes by itself.
    pub(super) fn forgive(&self) {
        self.state().fault = None;
    }

    pub(super) fn pause(&self, partitions: Option<&[Partition]>) {
        self.state().pauses.pause(partitions);
        self.nudge();
    }

    pub(super) fn resume(&self, partitions: Option<&[Partition]>) {
        self.state().pauses.resume(partitions);
        self.nudge();
        self.arrived.notify_one();
    }

    /// Wakes the polling thread if it waits for room.
    pub(super) fn nudge(&self) {
        self.state().nudge = true;
        self.nudged.notify_one();
    }

    // The polling thread.

    pub(super) fn put(&self, runs: Vec<Run>) {
        let mut state = self.state();
        for run in runs {
            state.bytes += run.footprint();
            state.records += run.left();
            state.runs.push_back(run);
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// The most that one hand-over should bring.
    pub(super) fn portion(&self) -> usize {
        (self.limit / 4).min(PORTION)
    }

    pub(super) fn is_full(&self) -> bool {
        self.state().ready() >= self.limit
    }

    pub(super) fn is_half_empty(&self) -> bool {
        self.state().ready() <= self.limit / 2
    }

    /// Waits for room or a nudge, at most so long.
    pub(super) fn wait_for_room(&self, at_most: Duration) {
        let state = self.state();
        let enough = self.limit / 2;
        let waited = self.nudged.wait_timeout_while(state, at_most, |s| s.ready() > enough && !s.nudge);
        waited.unwrap_or_else(PoisonError::into_inner).0.nudge = false;
    }

    /// Which of these should not be fetched: the paused ones, as soon as enough of them is here. A short
    /// pause costs nothing that way, while stopping the fetch throws away what was fetched ahead.
    pub(super) fn to_halt(
        &self,
        halted: &BTreeSet<Partition>,
        reading: &BTreeSet<Partition>,
    ) -> BTreeSet<Partition> {
        let state = self.state();
        let enough = state.bytes - state.ready() >= self.limit / 4;
        let halts = |p: &Partition| state.pauses.holds(*p) && (enough || halted.contains(p));
        reading.iter().copied().filter(halts).collect()
    }

    pub(super) fn assigned(&self, partitions: Vec<Partition>) {
        self.state().changes.push_back(Change::Assigned(partitions));
        self.arrived.notify_one();
    }

    /// Reports a revocation. Partitions whose assignment nobody has seen are left out; `handback` is
    /// dropped, and so answered, when none is left.
    pub(super) fn revoking(&self, partitions: &[Partition], handback: Handback) {
        let mut state = self.state();
        state.discard(partitions);
        let partitions = state.forget_unseen(partitions);
        if !partitions.is_empty() {
            state.changes.push_back(Change::Revoking { partitions, handback });
            drop(state);
            self.arrived.notify_one();
        }
    }

    pub(super) fn lost(&self, partitions: &[Partition]) {
        let mut state = self.state();
        state.discard(partitions);
        let partitions = state.forget_unseen(partitions);
        if !partitions.is_empty() {
            state.changes.push_back(Change::Lost(partitions));
            drop(state);
            self.arrived.notify_one();
        }
    }

    /// Forgets what is here of these partitions, because they start elsewhere.
    pub(super) fn discard(&self, partitions: &[Partition]) {
        self.state().discard(partitions);
    }

    pub(super) fn fault(&self, cause: KafkaError) {
        self.state().fault = Some(cause);
        self.arrived.notify_one();
    }

    /// Nothing more will come.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        let (changes, runs) = (mem::take(&mut state.changes), mem::take(&mut state.runs));
        drop(state);
        // An unanswered handback among these is answered by its drop, and that looks in here.
        drop((changes, runs));
        self.arrived.notify_one();
    }
}

impl State {
    fn deliveries(&mut self, credits: usize) -> Vec<keylane::delivery::Delivery> {
        let mut out = Vec::with_capacity(credits.min(self.records));
        let mut at = 0;
        while out.len() < credits && at < self.runs.len() {
            let run = &mut self.runs[at];
            if self.pauses.holds(run.partition) {
                at += 1;
                continue;
            }
            run.take(credits - out.len(), &mut out);
            if run.left() == 0 {
                self.bytes -= run.footprint();
                self.runs.remove(at);
            }
        }
        self.records -= out.len();
        out
    }

    /// Bytes that can be pulled. What is paused does not count as room taken, or it would stop the
    /// other partitions; it is bounded by [`Inbox::to_halt`].
    fn ready(&self) -> usize {
        if self.pauses.none() {
            return self.bytes;
        }
        self.runs.iter().filter(|run| !self.pauses.holds(run.partition)).map(Run::footprint).sum()
    }

    fn discard(&mut self, partitions: &[Partition]) {
        let (bytes, records) = (&mut self.bytes, &mut self.records);
        self.runs.retain(|run| {
            let keep = !partitions.contains(&run.partition);
            if !keep {
                *bytes -= run.footprint();
                *records -= run.left();
            }
            keep
        });
    }

    /// Takes these partitions out of assignments that nobody has pulled yet, and says which were not
    /// among them: only of those there is something to take back. This also bounds the queue, however
    /// often the group changes while nobody pulls.
    fn forget_unseen(&mut self, partitions: &[Partition]) -> Vec<Partition> {
        let mut unseen = BTreeSet::new();
        for change in &mut self.changes {
            if let Change::Assigned(assigned) = change {
                let (gone, kept) =
                    mem::take(assigned).into_iter().partition::<Vec<_>, _>(|p| partitions.contains(p));
                unseen.extend(gone);
                *assigned = kept;
            }
        }
        self.changes.retain(|change| !matches!(change, Change::Assigned(assigned) if assigned.is_empty()));
        partitions.iter().copied().filter(|p| !unseen.contains(p)).collect()
    }
}
