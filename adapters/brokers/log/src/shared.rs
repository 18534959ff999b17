//! What a consumer and its task in the group share: one short lock, never held over an await.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use keylane::Error;
use keylane::broker::{Base, Change, Handback, Partition, Pulled, Start};
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::error::{closed, repeated};
use crate::page::{Chunk, Ends};
use crate::reading::{Readings, Want};
use crate::stream::Stream;

/// Changes that nobody pulled; at that many, the member only stays alive and moves nothing.
const CHANGES_MAX: usize = 64;

pub(crate) struct Shared {
    state: Mutex<State>,
    /// Something changed for the next pull other than the log itself.
    wake: Notify,
    /// Asks the task to leave the group.
    leave: CancellationToken,
    /// True when it has left.
    left: watch::Sender<bool>,
}

struct State {
    readings: Readings,
    changes: VecDeque<Change>,
    /// Committed here and not written yet.
    bases: BTreeMap<Partition, Base>,
    fault: Option<Error>,
    closed: bool,
}

impl Shared {
    pub(crate) fn new(stream: Stream, leave: CancellationToken) -> Self {
        let state = State {
            readings: Readings::new(stream),
            changes: VecDeque::new(),
            bases: BTreeMap::new(),
            fault: None,
            closed: false,
        };
        Self { state: Mutex::new(state), wake: Notify::new(), leave, left: watch::Sender::new(false) }
    }

    // The consumer's side.

    /// What there is to pull at once. Nothing is awaited between taking and giving, so that a dropped
    /// pull has taken nothing.
    pub(crate) fn next(&self, credits: usize) -> Result<Option<Pulled>, Error> {
        let mut state = self.state();
        if state.closed {
            return Err(closed("the consumer"));
        }
        if let Some(fault) = &state.fault {
            return Err(repeated(fault));
        }
        // Changes first: what they take away must not be delivered any more.
        if let Some(change) = state.changes.pop_front() {
            return Ok(Some(Pulled::Change(change)));
        }
        if let Some(broken) = state.readings.take_broken() {
            return Ok(Some(Pulled::Change(broken)));
        }
        let deliveries = state.readings.take(credits);
        Ok((!deliveries.is_empty()).then_some(Pulled::Deliveries(deliveries)))
    }

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(crate) fn any_active(&self) -> bool {
        self.state().readings.any_active()
    }

    pub(crate) fn wanted(&self) -> Vec<Want> {
        self.state().readings.wanted()
    }

    pub(crate) fn buffered(&self) -> usize {
        self.state().readings.buffered()
    }

    pub(crate) fn observe(&self, ends: &[Ends]) -> bool {
        self.state().readings.observe(ends)
    }

    pub(crate) fn install(&self, want: Want, page: Vec<Chunk>) {
        self.state().readings.install(want, page);
    }

    pub(crate) fn breaks(&self, want: Want, error: Error) {
        self.state().readings.breaks(want, error);
    }

    pub(crate) fn start(&self, starts: Vec<Start>) {
        let mut state = self.state();
        for start in starts {
            if state.readings.start(start) {
                state.bases.remove(&start.partition);
            }
        }
        self.wake.notify_one();
    }

    pub(crate) fn pause(&self, partitions: Option<&[Partition]>, paused: bool) {
        self.state().readings.pause(partitions, paused);
        self.wake.notify_one();
    }

    /// Keeps the greatest base of each partition until it is written; those of another epoch are stale.
    pub(crate) fn commit(&self, bases: Vec<Base>) {
        let mut state = self.state();
        for base in bases {
            if state.readings.epoch(base.partition) == Some(base.epoch) {
                keep_greatest(&mut state.bases, base);
            }
        }
    }

    /// Ends all pulls and asks the task to leave; await [`left`](Self::left).
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.leave.cancel();
        self.wake.notify_one();
    }

    pub(crate) async fn left(&self) {
        // An error means that the sender is gone, which is `self`: it can't be.
        drop(self.left.subscribe().wait_for(|left| *left).await);
    }

    // The task's side.

    pub(crate) async fn asked_to_leave(&self) {
        self.leave.cancelled().await;
    }

    pub(crate) fn has_left(&self) {
        // Also when the whole broker was closed and not this consumer.
        self.state().closed = true;
        self.wake.notify_one();
        self.left.send_replace(true);
    }

    /// Too many changes wait to be pulled for another.
    pub(crate) fn is_behind(&self) -> bool {
        self.state().changes.len() >= CHANGES_MAX
    }

    pub(crate) fn assigned(&self, partitions: Vec<Partition>) {
        let mut state = self.state();
        state.readings.assign(&partitions);
        state.changes.push_back(Change::Assigned(partitions));
        self.wake.notify_one();
    }

    /// Nothing of them is delivered any more; the receiver answers with the bases, or is dropped.
    pub(crate) fn revoking(&self, partitions: Vec<Partition>) -> oneshot::Receiver<Vec<Base>> {
        let (answer, answered) = oneshot::channel();
        let handback = Handback::new(move |bases| drop(answer.send(bases)));
        let mut state = self.state();
        state.readings.stop(&partitions);
        state.changes.push_back(Change::Revoking { partitions, handback });
        self.wake.notify_one();
        answered
    }

    /// What was committed of these and is not written yet, with what a handback added.
    pub(crate) fn last_bases(&self, partitions: &[Partition], handed_back: Vec<Base>) -> Vec<Base> {
        let mut state = self.state();
        let mut last = BTreeMap::new();
        for partition in partitions {
            let kept = state.bases.remove(partition);
            let epoch = state.readings.epoch(*partition);
            let given =
                handed_back.iter().filter(|base| base.partition == *partition && Some(base.epoch) == epoch);
            for base in kept.into_iter().chain(given.copied()) {
                keep_greatest(&mut last, base);
            }
        }
        last.into_values().collect()
    }

    /// They were let go of in good order.
    pub(crate) fn let_go(&self, partitions: &[Partition]) {
        self.state().readings.part_with(partitions);
    }

    /// They are someone else's already.
    pub(crate) fn lost(&self, partitions: Vec<Partition>) {
        let mut state = self.state();
        state.readings.part_with(&partitions);
        state.bases.retain(|partition, _| !partitions.contains(partition));
        state.changes.push_back(Change::Lost(partitions));
        self.wake.notify_one();
    }

    /// All bases that are to be written; [`give_back`](Self::give_back) them when that failed.
    pub(crate) fn take_bases(&self) -> Vec<Base> {
        std::mem::take(&mut self.state().bases).into_values().collect()
    }

    pub(crate) fn give_back(&self, bases: Vec<Base>) {
        self.commit(bases);
    }

    /// Every further pull fails with this.
    pub(crate) fn fail(&self, error: Error) {
        self.state().fault = Some(error);
        self.wake.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep_greatest(bases: &mut BTreeMap<Partition, Base>, base: Base) {
    let kept = bases.entry(base.partition).or_insert(base);
    if (base.epoch, base.offset) > (kept.epoch, kept.offset) {
        *kept = base;
    }
}
