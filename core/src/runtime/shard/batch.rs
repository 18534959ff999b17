//! Putting batches together: events of one route and one partition that are ready together, in key order.

use std::sync::Arc;

use super::{Run, Shard, Then};
use crate::env::Instant;
use crate::handler::Route;
use crate::lanes::LaneId;
use crate::middleware::boundary;
use crate::middleware::chain::{Chain, Entry, Exit};
use crate::runtime::Item;
use crate::runtime::tenure::Tenure;
use crate::text::Text;

/// A batch in the making.
pub(super) struct Forming {
    kind: Text,
    items: Vec<Item>,
    lanes: Vec<Option<LaneId>>,
}

impl Shard {
    /// Adds an event, and those behind it in its lane that may run with it.
    pub(super) fn form(&mut self, lane: LaneId, item: Item, route: &Route, chain: &Chain, now: Instant) {
        let max = route.batch_max.unwrap_or(1).max(1);
        if item.is_alone() {
            let alone =
                Forming { kind: item.envelope.meta.kind.clone(), items: vec![item], lanes: vec![Some(lane)] };
            return self.start_batch(alone, chain, now);
        }
        let kind = item.envelope.meta.kind.clone();
        let tenure = item.tenure.clone();
        // Of one partition, or of any keys: each is fenced by its own lease.
        let together = |other: &Arc<Tenure>| {
            Arc::ptr_eq(other, &tenure) || (other.key().is_some() && tenure.key().is_some())
        };
        let same = |forming: &Forming| forming.kind == kind && together(&forming.items[0].tenure);
        let at = self.forming.iter().position(same).unwrap_or_else(|| {
            self.forming.push(Forming { kind: kind.clone(), items: Vec::new(), lanes: Vec::new() });
            self.forming.len() - 1
        });
        let mut forming = self.forming.swap_remove(at);
        forming.items.push(item);
        forming.lanes.push(Some(lane));
        let joins = |item: &Item| {
            item.history.is_none()
                && item.envelope.meta.kind == kind
                && matches!(chain.enter(item, now), Entry::Run(_))
        };
        while forming.items.len() < max && self.lanes.front(lane).is_some_and(joins) {
            let Some(mut next) = self.lanes.take_front(lane) else { break };
            self.take_up(&mut next);
            forming.items.push(next);
            forming.lanes.push(Some(lane));
        }
        if forming.items.len() >= max {
            self.start_batch(forming, chain, now);
        } else {
            self.forming.push(forming);
        }
    }

    /// Starts what has been put together in this round.
    pub(super) fn start_formed(&mut self, chain: &Chain, now: Instant) {
        while let Some(forming) = self.forming.pop() {
            self.start_batch(forming, chain, now);
        }
    }

    fn start_batch(&mut self, forming: Forming, chain: &Chain, now: Instant) {
        if !self.has_permit() {
            let run = Run {
                items: forming.items,
                lanes: forming.lanes,
                then: Then::Land,
                began: now,
                permit: None,
            };
            let back = run.items.iter().map(|_| Exit::PutBack).collect();
            return self.carry_out(run, back);
        }
        let Some(route) = chain.routes.lookup(&forming.kind) else { return };
        let mut call = chain.call(route, &forming.items);
        let run =
            Run { items: forming.items, lanes: forming.lanes, then: Then::Land, began: now, permit: None };
        match boundary::poll_inline(&mut call) {
            Some(ended) => self.landed(run, ended),
            None => self.take_off(run, call, route, chain),
        }
    }
}
