//! Lanes: the in-process queues of one shard, one lane per live key.
//!
//! A shard is one task that owns one [`Lanes`]: there is no lock here, no I/O and no clock. An item is
//! pushed to the back of its key's lane; ready lanes take turns, one item a turn, so that a hot key
//! can't starve the others; and a lane whose item is out gives out nothing more until it is told how
//! that item ended. That is how two events of one key never run at once and never swap places.
//!
//! ```text
//!             push                 next                  hold
//!   (none) ---------> ready ----------------> running ---------> held
//!                      ^ ^                      |  |              |
//!                      | +--- finish, put_back -+--|--------------+
//!                      |                           |              |
//!                      +---- wake ---- sleeping <--+-- back_off --+
//! ```
//!
//! A lane with nothing queued and nothing out is gone: idle keys cost nothing. Bounds (messages, bytes,
//! backlog of a key) are the caller's, who reads [`Lanes::len`], [`Lanes::bytes`] and [`Pushed::depth`].
//! Equal calls give equal answers, whatever the hash seeds are.

mod backlog;
mod roster;
mod timers;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod seed_tests;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub use roster::LaneId;

use crate::env::Instant;
use backlog::Backlog;
use roster::{Roster, State};
use timers::Timers;

/// What a lane needs to know of what it holds. Both answers stay the same for the item's whole life.
pub trait Item {
    /// The seeded hash of the ordering key, computed once by the caller.
    ///
    /// It alone names the lane: two keys of one 64-bit hash share a lane. That is one lane too few, in
    /// which either key is still served one at a time and in order; telling them apart would need the
    /// key of an item that is out, and thus a copy of every key.
    fn hash(&self) -> u64;
    /// What the item counts against the budget in bytes.
    fn bytes(&self) -> usize;
}

/// Where an item went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// Its lane.
    pub lane: LaneId,
    /// How many items the lane holds now, without the one that is out.
    pub depth: u32,
}

/// The lanes of one shard. See the [module](self).
#[derive(Debug)]
pub struct Lanes<T> {
    roster: Roster,
    backlog: Backlog<T>,
    ready: VecDeque<u32>,
    timers: Timers,
    bytes: usize,
    running: usize,
    held: usize,
}

/// Which shard of `shards` serves a key of this hash.
///
/// Taken from the middle of the hash: the lane table uses the low bits for the place and the top ones as
/// tag, and would crowd if all keys of a shard had either in common.
#[must_use]
pub fn shard_of(hash: u64, shards: usize) -> usize {
    let middle = (hash >> 16) & u64::from(u32::MAX);
    usize::try_from((middle * shards as u64) >> 32).expect("a shard's number is below a usize")
}

impl<T: Item> Lanes<T> {
    /// Lanes that have room for `items` without growing.
    #[must_use]
    pub fn new(items: usize) -> Self {
        Self {
            roster: Roster::new(items),
            backlog: Backlog::new(items),
            ready: VecDeque::with_capacity(items),
            timers: Timers::default(),
            bytes: 0,
            running: 0,
            held: 0,
        }
    }

    /// Puts `item` at the back of its lane. A lane that wasn't there is ready now.
    pub fn push(&mut self, item: T) -> Pushed {
        self.bytes += item.bytes();
        let index = self.roster.open(item.hash());
        let lane = self.roster.lane_mut(index);
        self.backlog.push_back(&mut lane.queue, item);
        if lane.state == State::New {
            lane.state = State::Ready;
            self.ready.push_back(index);
        }
        Pushed { lane: lane.id(index), depth: lane.queue.len() }
    }

    /// One turn: takes the front item of the next ready lane. The lane then runs, and gives out nothing
    /// more until [`finish`](Self::finish), [`back_off`](Self::back_off) or [`put_back`](Self::put_back).
    #[expect(
        clippy::should_implement_trait,
        reason = "a turn is not iteration: the lane waits to be told how it ended"
    )]
    #[must_use = "the item has left its lane"]
    pub fn next(&mut self) -> Option<(LaneId, T)> {
        let index = self.ready.pop_front()?;
        let lane = self.roster.lane_mut(index);
        debug_assert_eq!(lane.state, State::Ready);
        lane.state = State::Running;
        let item = self.backlog.pop_front(&mut lane.queue).expect("a ready lane holds an item");
        self.bytes -= item.bytes();
        self.running += 1;
        Some((lane.id(index), item))
    }

    /// The running (or held) item is over: the lane goes to the back of the ready queue, or is gone when
    /// it is empty. False, and nothing done, when no item of this lane is out.
    pub fn finish(&mut self, lane: LaneId) -> bool {
        let Some(index) = self.end_turn(lane) else { return false };
        if self.roster.lane(index).queue.is_empty() {
            self.roster.close(index);
        } else {
            self.make_ready(index);
        }
        true
    }

    /// The running item waits for its commit; [`finish`](Self::finish) and the others end it as well.
    /// False, and nothing done, when the lane isn't running.
    pub fn hold(&mut self, lane: LaneId) -> bool {
        let Some(index) = self.roster.check(lane) else { return false };
        let lane = self.roster.lane_mut(index);
        if lane.state != State::Running {
            return false;
        }
        lane.state = State::Held;
        self.running -= 1;
        self.held += 1;
        true
    }

    /// The running (or held) item goes back to the front of its lane, which sleeps until `until`.
    ///
    /// When no item of this lane is out, the item is pushed anew: an item is never lost here.
    pub fn back_off(&mut self, lane: LaneId, item: T, until: Instant) {
        if let Some(index) = self.return_to_front(lane, item) {
            self.roster.lane_mut(index).state = State::Sleeping;
            self.timers.add(until, index);
        }
    }

    /// The running (or held) item was not started after all: it goes back to the front of its lane, and
    /// the lane to the back of the ready queue, as after any turn.
    ///
    /// When no item of this lane is out, the item is pushed anew: an item is never lost here.
    pub fn put_back(&mut self, lane: LaneId, item: T) {
        if let Some(index) = self.return_to_front(lane, item) {
            self.make_ready(index);
        }
    }

    /// The last item of this key's lane; none when it holds none.
    #[must_use]
    pub fn last(&self, hash: u64) -> Option<&T> {
        let index = self.roster.find(hash)?;
        self.backlog.back(self.roster.lane(index).queue)
    }

    /// Shows the queued items of a lane from the front on, as long as `more` says so.
    pub fn each(&mut self, lane: LaneId, more: impl FnMut(&mut T) -> bool) {
        if let Some(index) = self.roster.check(lane) {
            self.backlog.each(self.roster.lane(index).queue, more);
        }
    }

    /// The item that would be next in a lane whose item is out; for putting batches together.
    #[must_use]
    pub fn front(&self, lane: LaneId) -> Option<&T> {
        let index = self.roster.check(lane)?;
        self.backlog.front(self.roster.lane(index).queue)
    }

    /// Takes one more item of a lane that is running already: it ends with the lane's turn.
    pub fn take_front(&mut self, lane: LaneId) -> Option<T> {
        let index = self.roster.check(lane)?;
        let lane = self.roster.lane_mut(index);
        if lane.state != State::Running {
            return None;
        }
        let item = self.backlog.pop_front(&mut lane.queue)?;
        self.bytes -= item.bytes();
        Some(item)
    }

    /// Puts an item that was taken back to the front, and leaves the lane in its turn.
    ///
    /// When no item of this lane is out, the item is pushed anew: an item is never lost here.
    pub fn push_front(&mut self, lane: LaneId, item: T) {
        let out = self
            .roster
            .check(lane)
            .filter(|index| matches!(self.roster.lane(*index).state, State::Running | State::Held));
        let Some(index) = out else {
            self.push(item);
            return;
        };
        self.bytes += item.bytes();
        self.backlog.push_front(&mut self.roster.lane_mut(index).queue, item);
    }

    /// Puts items of one key, in their order, before all that its lane holds, and makes the lane ready,
    /// also when it slept or was gone.
    ///
    /// # Errors
    /// The items, and nothing is changed, while an item of the lane is out: only when that has ended is it
    /// known what they come before.
    pub fn rewind(&mut self, items: Vec<T>) -> Result<(), Vec<T>> {
        let Some(first) = items.first() else { return Ok(()) };
        let index = self.roster.open(first.hash());
        match self.roster.lane(index).state {
            State::Running | State::Held => return Err(items),
            State::Ready => {}
            State::Sleeping => {
                self.timers.retain(|sleeping| sleeping != index);
                self.make_ready(index);
            }
            State::New | State::Free => self.make_ready(index),
        }
        for item in items.into_iter().rev() {
            self.bytes += item.bytes();
            self.backlog.push_front(&mut self.roster.lane_mut(index).queue, item);
        }
        Ok(())
    }

    /// Makes the lanes ready whose time has come, the earliest first; says how many.
    pub fn wake(&mut self, now: Instant) -> usize {
        let before = self.timers.len();
        while let Some(index) = self.timers.pop(now) {
            debug_assert_eq!(self.roster.lane(index).state, State::Sleeping);
            self.make_ready(index);
        }
        before - self.timers.len()
    }

    /// When the next sleeping lane wants to be woken.
    #[must_use]
    pub fn next_wake(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Takes out the queued items that `keep` refuses, lane by lane and in order. What is running or held
    /// is with the caller and is not asked about. A lane that is left with nothing is gone; one that slept
    /// for the sake of a removed front item is ready. Walks over everything: for revokes and drains.
    #[must_use = "the removed items have left their lanes"]
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut removed = Vec::new();
        for index in self.roster.indexes() {
            let lane = self.roster.lane_mut(index);
            let front = lane.queue.front();
            self.backlog.retain(&mut lane.queue, &mut keep, &mut removed);
            let waits = matches!(lane.state, State::Ready | State::Sleeping);
            if waits && lane.queue.is_empty() {
                self.roster.close(index);
            } else if lane.state == State::Sleeping && lane.queue.front() != front {
                self.make_ready(index);
            }
        }
        let roster = &self.roster;
        self.ready.retain(|&index| roster.lane(index).state == State::Ready);
        self.timers.retain(|index| roster.lane(index).state == State::Sleeping);
        self.bytes -= removed.iter().map(Item::bytes).sum::<usize>();
        removed
    }

    /// Ends the turn of a lane whose item is out, and leaves its next state to the caller.
    fn end_turn(&mut self, lane: LaneId) -> Option<u32> {
        let index = self.roster.check(lane)?;
        match self.roster.lane(index).state {
            State::Running => self.running -= 1,
            State::Held => self.held -= 1,
            State::Free | State::New | State::Ready | State::Sleeping => return None,
        }
        Some(index)
    }

    fn return_to_front(&mut self, lane: LaneId, item: T) -> Option<u32> {
        let Some(index) = self.end_turn(lane) else {
            self.push(item);
            return None;
        };
        self.bytes += item.bytes();
        self.backlog.push_front(&mut self.roster.lane_mut(index).queue, item);
        Some(index)
    }

    fn make_ready(&mut self, index: u32) {
        self.roster.lane_mut(index).state = State::Ready;
        self.ready.push_back(index);
    }
}

impl<T> Lanes<T> {
    /// How many items a lane holds, without the one that is out; none when the lane is gone.
    #[must_use]
    pub fn depth(&self, lane: LaneId) -> u32 {
        self.roster.check(lane).map_or(0, |index| self.roster.lane(index).queue.len())
    }

    /// Items in all lanes, without those that are out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.backlog.len()
    }

    /// True when no item is queued; lanes may still be running.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the queued items.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lanes there are: ready, running, held and sleeping ones.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.roster.len()
    }

    /// Lanes that [`next`](Self::next) can take from.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Lanes whose item is out and not held.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running
    }

    /// Lanes whose item waits for its commit.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Lanes that wait for a time.
    #[must_use]
    pub fn sleeping(&self) -> usize {
        self.timers.len()
    }
}
