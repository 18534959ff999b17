//! When sleeping lanes want to be woken.
//!
//! A heap holds exactly one entry per sleeping lane, since a lane leaves its sleep only by its timer or by
//! a `retain`, which walks over everything anyway. So there are no stale entries to bound or to skip.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::env::Instant;

/// Ordered by time, then by who went to sleep first: equal calls wake in equal order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Timer {
    until: Instant,
    order: u64,
    lane: u32,
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<Timer>>,
    added: u64,
}

impl Timers {
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(timer)| timer.until)
    }

    pub(super) fn add(&mut self, until: Instant, lane: u32) {
        self.heap.push(Reverse(Timer { until, order: self.added, lane }));
        self.added += 1;
    }

    /// The next lane whose time has come by `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<u32> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(timer)| timer.lane)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(u32) -> bool) {
        self.heap.retain(|Reverse(timer)| keep(timer.lane));
    }
}
