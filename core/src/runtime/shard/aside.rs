//! What lies in the lanes, and against which bound it counts: a hot key pauses its partition; a key that
//! backs off is set aside, so that the other keys of its partition go on.

use std::sync::Arc;

use super::Shard;
use crate::env::Instant;
use crate::lanes::LaneId;
use crate::runtime::Item;
use crate::runtime::tenure::Tenure;

/// A lane over the bound of one key, and the partition that is paused for it.
pub(super) struct Hot {
    lane: LaneId,
    tenure: Arc<Tenure>,
}

impl Shard {
    pub(super) fn push(&mut self, mut item: Item) {
        // Whatever comes in behind a failed event waits as that does.
        if self.aside > 0 && self.lanes.last(item.hash).is_some_and(|last| last.aside) {
            self.set_aside(&mut item);
        }
        let (hash, aside) = (item.hash, item.aside);
        let pushed = self.lanes.push(item);
        if !aside && pushed.depth as usize >= self.sub.settings.budget.per_key {
            self.heat(pushed.lane, hash);
        }
    }

    /// The per-key bound: its partition is paused, once.
    fn heat(&mut self, lane: LaneId, hash: u64) {
        if self.hot.iter().any(|hot| hot.lane == lane) {
            return;
        }
        let Some(last) = self.lanes.last(hash) else { return };
        let tenure = last.tenure.clone();
        // A queue can't be paused for one key: there the budgets alone are the bound.
        let Some(of) = tenure.partition() else { return };
        // One that is ending has no say: the next may read the partition by now, and nobody would let that go on.
        if !tenure.may_start() {
            return;
        }
        of.hold_back(&*self.sub.consumer);
        if !tenure.may_start() {
            self.sub.ended_while_held_back(&tenure);
        }
        self.hot.push(Hot { lane, tenure });
    }

    /// Partitions paused for a hot key go on when its lane is half empty, or waits apart.
    pub(super) fn cool(&mut self) {
        let low = self.sub.settings.budget.per_key / 2;
        let (lanes, consumer) = (&self.lanes, &*self.sub.consumer);
        self.hot.retain(|Hot { lane, tenure }| {
            let waits = lanes.front(*lane).is_some_and(|front| front.aside);
            let still = lanes.depth(*lane) as usize > low && !waits;
            if !still {
                tenure.claimed().let_go_on(consumer, !tenure.may_start());
            }
            still
        });
    }

    /// A failed event goes back to the front of its lane, which sleeps. All that the lane holds waits with it.
    pub(super) fn back_off(&mut self, lane: LaneId, mut item: Item, until: Instant) {
        self.set_aside(&mut item);
        let (budget, aside) = (&self.sub.budget, &mut self.aside);
        let (mut messages, mut bytes) = (0, 0);
        // Behind one that is set aside all are.
        self.lanes.each(lane, |item| {
            let news = !std::mem::replace(&mut item.aside, true);
            messages += usize::from(news);
            bytes += if news { item.bytes as usize } else { 0 };
            news
        });
        budget.set_aside(messages, bytes);
        *aside += messages;
        self.lanes.back_off(lane, item, until);
    }

    fn set_aside(&mut self, item: &mut Item) {
        if !std::mem::replace(&mut item.aside, true) {
            self.aside += 1;
            self.sub.budget.set_aside(1, item.bytes as usize);
        }
    }

    /// Its turn has come, or it is over: it counts as in flight.
    pub(super) fn take_up(&mut self, item: &mut Item) {
        if std::mem::replace(&mut item.aside, false) {
            self.aside -= 1;
            self.sub.budget.take_up(1, item.bytes as usize);
        }
    }
}
