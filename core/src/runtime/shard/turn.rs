//! Starting what is ready: one turn a lane, until nothing is ready or no permit is left.

use std::sync::Arc;

use super::{Run, Shard, TURNS, Then};
use crate::env::Instant;
use crate::handler::Route;
use crate::lanes::LaneId;
use crate::middleware::boundary::{self, Ended, Started};
use crate::middleware::chain::{Chain, Entry};
use crate::runtime::Item;

impl Shard {
    /// Takes turns; true when there was more to do than one round takes.
    pub(super) fn turns(&mut self, now: Instant) -> bool {
        if self.sub.stopped.is_cancelled() {
            return false;
        }
        let sub = self.sub.clone();
        sub.promise.look();
        self.starving = false;
        let mut now = now;
        for _ in 0..TURNS {
            if !self.has_permit() {
                self.start_formed(&sub.chain, now);
                return false;
            }
            let Some((lane, mut item)) = self.lanes.next() else {
                self.start_formed(&sub.chain, now);
                return self.lanes.ready() > 0;
            };
            self.take_up(&mut item);
            if self.is_ahead_of_failed(&item) {
                self.wait_for_failed(lane, item);
                continue;
            }
            if let Some(until) = item.not_before(now) {
                self.back_off(lane, item, until);
                continue;
            }
            let entry = sub.chain.enter(&item, now);
            match entry {
                Entry::Run(route) if route.batch_max.is_some() => {
                    if let Some(item) = self.catch_up(lane, item) {
                        self.form(lane, item, route, &sub.chain, now);
                    }
                }
                Entry::Run(route) => now = self.start_one(lane, item, route, &sub.chain, now),
                Entry::Skip => self.finished(Some(lane), item),
                Entry::Mark => {
                    if let Some(item) = self.catch_up(lane, item) {
                        self.mark(lane, item);
                    }
                }
                Entry::Bury(death, why) => self.bury(Some(lane), item, death, Some(why)),
                Entry::Drop => {
                    self.leave_behind(item);
                    self.lanes.finish(lane);
                }
                Entry::Wait => {
                    self.lanes.put_back(lane, item);
                    self.start_formed(&sub.chain, now);
                    return false;
                }
            }
        }
        self.start_formed(&sub.chain, now);
        true
    }

    pub(super) fn has_permit(&mut self) -> bool {
        if self.permit.is_none() {
            self.permit = self.sub.permits.clone().try_acquire_owned().ok();
            self.starving = self.permit.is_none();
        }
        self.permit.is_some()
    }

    /// Runs a single event; most end here. Returns the time after it.
    fn start_one(&mut self, lane: LaneId, item: Item, route: &Route, chain: &Chain, now: Instant) -> Instant {
        let mut call = chain.call(route, std::slice::from_ref(&item));
        let ended = boundary::poll_inline(&mut call);
        let after = self.sub.env.now();
        let took = after.since(now);
        if took > boundary::POLL_MAX {
            boundary::log_long_poll(&item.envelope.meta.kind, took);
        }
        match ended {
            // The path of nearly every event of a subscription by position: nothing but a bit is left of it.
            Some(Ended::Returned(outcome))
                if outcome.is_done() && outcome.effects.is_empty() && item.is_plain() =>
            {
                chain.trace.took(took);
                self.plain(item);
                self.lanes.finish(lane);
            }
            ended => {
                let (items, lanes) = (vec![item], vec![Some(lane)]);
                let run = Run { items, lanes, then: Then::Land, began: now, permit: None };
                match ended {
                    Some(ended) => self.landed(run, ended),
                    None => self.take_off(run, call, route, chain),
                }
            }
        }
        after
    }

    /// A call that is pending joins the flights, with its permit.
    pub(super) fn take_off(&mut self, mut run: Run, call: Started, route: &Route, chain: &Chain) {
        if mutant!("lanes-two-at-once") {
            run.lanes.iter().flatten().for_each(|lane| _ = self.lanes.finish(*lane));
        }
        run.permit = self.permit.take();
        let lost = run.items[0].tenure.aborted();
        let limit = chain.limit(route);
        let bounded = boundary::bounded(chain.env.clone(), call, limit, lost, chain.promise.out());
        let key = self.runs.insert(run);
        self.flights.push(Box::pin(async move { (key, bounded.await) }));
    }

    /// An event that leaves nothing but its position is over at once.
    pub(super) fn plain(&mut self, item: Item) {
        if item.tenure.key().is_some() {
            self.ended.handled += 1;
            return self.let_go(item);
        }
        let ended = &mut self.ended;
        ended.messages += 1;
        ended.bytes += item.bytes as usize;
        ended.handled += 1;
        let offset = item.offset();
        match ended.plain.iter_mut().find(|(tenure, _)| Arc::ptr_eq(tenure, &item.tenure)) {
            Some((_, offsets)) => offsets.push(offset),
            None => ended.plain.push((item.tenure.clone(), vec![offset])),
        }
    }
}
