//! Rule C5's opt-in: with `ahead = true` the next event of a key starts before its predecessor's writes are
//! committed.
//!
//! Only handlers run ahead, commits don't: one commit per key is in flight. What ran meanwhile waits here
//! and goes as one unit when that is answered, so that no group can hold a part of it. When a write fails,
//! nothing later of the key was written: all of it goes back into the lane, behind the failed one.

use super::{Run, Shard, Then};
use crate::lanes::LaneId;
use crate::middleware::chain::Exit;
use crate::runtime::Item;
use crate::store::{Effect, Fate, Unit, Verdict};

/// A key whose handlers ran ahead of its commits.
#[derive(Default)]
pub(super) struct Key {
    /// A unit of it is with the committer.
    flying: bool,
    /// Handled, with what they recorded; to be committed when the unit that flies is answered.
    done: Vec<(Item, Vec<Effect>)>,
    /// To run again before anything else of the key.
    back: Vec<Item>,
    /// The lane waits until `done` has room.
    held: Option<LaneId>,
    /// An event that must not run ahead: a batch handler's, whose unit spans several keys, or one to be marked,
    /// which would hold its place while it waits for those before it (rule T1).
    behind: Option<(LaneId, Item)>,
}

/// So many events of a key wait for their commit at the most.
const AHEAD_MAX: usize = 256;

impl Shard {
    /// An event was handled. Its lane goes on; its writes follow those before them.
    pub(super) fn run_ahead(&mut self, lane: LaneId, item: Item, effects: Vec<Effect>) {
        let hash = item.hash;
        let key = self.ahead.entry(hash).or_default();
        if !key.back.is_empty() {
            // One before it has to run again, and then it.
            key.back.push(item);
            key.back.sort_by_key(Item::offset);
            self.lanes.finish(lane);
            return self.rewind(hash);
        }
        key.done.push((item, effects));
        if key.done.len() < AHEAD_MAX {
            self.lanes.finish(lane);
        } else {
            self.lanes.hold(lane);
            key.held = Some(lane);
        }
        if !key.flying {
            self.commit_ahead(hash);
        }
    }

    /// An event that must not run ahead waits until nothing of its key is; gives it back when nothing is.
    pub(super) fn catch_up(&mut self, lane: LaneId, item: Item) -> Option<Item> {
        let Some(key) = self.ahead.get_mut(&item.hash) else { return Some(item) };
        self.lanes.hold(lane);
        key.behind = Some((lane, item));
        None
    }

    /// True when an earlier event of its key has to run again first.
    pub(super) fn is_ahead_of_failed(&self, item: &Item) -> bool {
        !self.ahead.is_empty() && self.ahead.get(&item.hash).is_some_and(|key| !key.back.is_empty())
    }

    /// An event whose turn came while an earlier one of its key has to run again first.
    pub(super) fn wait_for_failed(&mut self, lane: LaneId, item: Item) {
        let hash = item.hash;
        let Some(key) = self.ahead.get_mut(&hash) else { return self.lanes.put_back(lane, item) };
        if key.flying {
            self.lanes.hold(lane);
            key.behind = Some((lane, item));
        } else {
            self.lanes.put_back(lane, item);
            self.rewind(hash);
        }
    }

    /// Events of one key whose lane went on without them run again before anything else of it.
    pub(super) fn run_first(&mut self, items: Vec<Item>) {
        let Some(first) = items.first() else { return };
        let hash = first.hash;
        let key = self.ahead.entry(hash).or_default();
        key.back.extend(items);
        key.back.sort_by_key(Item::offset);
        self.rewind(hash);
    }

    /// Puts what has to run again back into its lane; later, while an item of the lane is out or a unit of the
    /// key is with the committer.
    pub(super) fn rewind(&mut self, hash: u64) {
        let Some(key) = self.ahead.get_mut(&hash).filter(|key| !key.flying) else { return };
        if let Some((lane, item)) = key.behind.take() {
            self.lanes.put_back(lane, item);
        }
        let back = std::mem::take(&mut key.back);
        let ends = back.iter().any(|item| !item.tenure.may_start());
        match self.lanes.rewind(back) {
            Ok(()) => drop(self.ahead.remove(&hash)),
            // Also what belongs to the next owner: until the lane's item is out it says that one must not commit.
            Err(back) => return key.back = back,
        }
        if ends {
            // It came back into a lane that was swept before.
            self.sweep();
        }
    }

    /// All that waits to go back into its lane; true when something did.
    pub(super) fn rewind_all(&mut self) -> bool {
        if self.ahead.is_empty() {
            return false;
        }
        let waiting: Vec<u64> =
            self.ahead.iter().filter(|(_, key)| !key.back.is_empty()).map(|(hash, _)| *hash).collect();
        for hash in &waiting {
            self.rewind(*hash);
        }
        waiting.iter().any(|hash| !self.ahead.contains_key(hash))
    }

    /// The fates of a unit that ran ahead.
    pub(super) fn ahead_fates(&mut self, run: Run, fates: Vec<Fate>) {
        let hash = run.items[0].hash;
        let several = run.items.len() > 1;
        let mut back = Vec::new();
        for (mut item, fate) in run.items.into_iter().zip(fates) {
            match self.exit_of(&mut item, fate, Then::Finish, several) {
                None => self.let_go(item),
                Some(Exit::Bury(death)) => self.bury(None, item, death, None),
                Some(exit) => back.push(self.goes_back(item, &exit)),
            }
        }
        let Some(key) = self.ahead.get_mut(&hash) else { return };
        key.flying = false;
        key.back.extend(back);
        if key.back.is_empty() {
            return self.commit_ahead(hash);
        }
        key.back.extend(key.done.drain(..).map(|(item, _)| item));
        key.back.sort_by_key(Item::offset);
        if let Some(lane) = key.held.take() {
            self.lanes.finish(lane);
        }
        self.rewind(hash);
    }

    /// Sends what is handled as one unit, or as one event that failed with others before.
    fn commit_ahead(&mut self, hash: u64) {
        let Some(key) = self.ahead.get_mut(&hash) else { return };
        let Some((first, _)) = key.done.first() else {
            let key = self.ahead.remove(&hash).unwrap_or_default();
            if let Some((lane, item)) = key.behind {
                self.lanes.put_back(lane, item);
            }
            return;
        };
        let tenure = first.tenure.clone();
        let joins = |item: &Item| !item.is_alone() && std::sync::Arc::ptr_eq(&item.tenure, &tenure);
        let n = key.done.iter().take_while(|(item, _)| joins(item)).count().max(1);
        let (items, effects): (Vec<_>, Vec<_>) = key.done.drain(..n).unzip();
        key.flying = true;
        if let Some(lane) = key.held.take() {
            self.lanes.finish(lane);
        }
        let events = items.iter().map(|item| super::land::commit_event(item, Verdict::Finish)).collect();
        let lanes = items.iter().map(|_| None).collect();
        let began = self.sub.env.now();
        let unit = Unit { events, effects: effects.into_iter().flatten().collect() };
        self.commit_run(Run { items, lanes, then: Then::Ahead, began, permit: None }, unit);
    }
}
