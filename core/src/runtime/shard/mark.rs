//! Rule T1: marks, durable before the handler runs, so that a death of the worker is counted.
//!
//! There are places for as many marks as events may run, shared by all shards of a subscription. A mark made
//! long before its run, or kept long after it, would count the deaths of others.

use futures_util::FutureExt;
use tokio::sync::{AcquireError, OwnedSemaphorePermit};

use super::{Shard, Then};
use crate::env::BoxFuture;
use crate::lanes::LaneId;
use crate::runtime::{Item, Mark};
use crate::store::Verdict;

/// So many places, asked for. Kept until they are there: who asks anew is the last in the queue again.
pub(super) type Asking = (u32, BoxFuture<'static, Result<OwnedSemaphorePermit, AcquireError>>);

impl Shard {
    /// The event waits for a place and its mark; its lane waits with it.
    pub(super) fn mark(&mut self, lane: LaneId, item: Item) {
        self.lanes.hold(lane);
        self.unmarked.push_back((lane, item));
    }

    /// Marks those that wait for it, in their order, as far as there are places.
    pub(super) fn mark_waiting(&mut self) {
        while let Some((_, item)) = self.unmarked.front() {
            let places = self.places(item);
            let Some(place) = self.place(places) else { break };
            let Some((lane, mut item)) = self.unmarked.pop_front() else { break };
            let history = item.history();
            history.mark = Mark::Made;
            history.marked = Some(place);
            history.row = true;
            let row = item.attempt_row(self.sub.env.wall(), Some(self.sub.committer.session()));
            self.commit_one(Some(lane), item, Verdict::Started(row), Then::Start);
        }
        if self.unmarked.is_empty() {
            // What was asked for someone who is gone would be missing to the other shards.
            self.place = None;
            self.asking = None;
        }
    }

    /// What the shard asks for while it waits.
    pub(super) fn ask_for_place(&mut self) -> Option<Asking> {
        let (_, item) = self.unmarked.front()?;
        let places = self.places(item);
        let asked = self.asking.take().filter(|(asked, _)| *asked == places);
        Some(asked.unwrap_or_else(|| (places, self.sub.marks.clone().acquire_many_owned(places).boxed())))
    }

    fn place(&mut self, places: u32) -> Option<OwnedSemaphorePermit> {
        if let Some(got) = self.place.take().filter(|got| got.num_permits() == places as usize) {
            return Some(got);
        }
        match self.asking.take() {
            Some((asked, mut there)) if asked == places => match (&mut there).now_or_never() {
                Some(place) => place.ok(),
                None => {
                    self.asking = Some((asked, there));
                    None
                }
            },
            _ => self.sub.marks.clone().try_acquire_many_owned(places).ok(),
        }
    }

    /// How many places a mark takes. An event whose next death would be its last is the only one that is marked:
    /// who merely ran beside the one that kills must not die of it.
    fn places(&self, item: &Item) -> u32 {
        let crashes = item.history.as_ref().map_or(0, |history| history.crashes);
        let alone = crashes > 0 && crashes + 1 >= self.sub.chain.retry.crashes_max;
        if alone { u32::try_from(self.sub.settings.concurrency).unwrap_or(u32::MAX) } else { 1 }
    }
}
