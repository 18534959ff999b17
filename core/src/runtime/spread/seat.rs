//! One home's place in one partition.

use std::collections::VecDeque;
use std::time::Duration;

use crate::broker::{Partition, Start};
use crate::delivery::Delivery;
use crate::env::Instant;
use crate::error::Error;
use crate::store::Witness;

/// So often a home hears at most how far the log was read without anything for it.
const PASS_EVERY: Duration = Duration::from_secs(1);

/// Word that nothing below an offset is for this home, but what it was given: the home's base moves over it, or its
/// position would fall out of the log some day (rule L2), and the broker would never hear that all is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) partition: Partition,
    /// The home's own.
    pub(crate) epoch: u64,
    pub(crate) below: u64,
    /// The last record that was passed over, by which the log is known again.
    pub(crate) last: Option<Witness>,
}

pub(super) struct Seat {
    /// The home's own, of its last start.
    pub(super) epoch: u64,
    /// The home reads this partition.
    pub(super) started: bool,
    /// Nothing was read for it since its start.
    pub(super) fresh: bool,
    /// All that is for it from its cursor on will come as the reader goes on.
    pub(super) attached: bool,
    /// The next offset that it has not been given. While it is attached: unless the reader is further.
    pub(super) cursor: u64,
    /// Below this it is shown every record, to know the log again (rule L2); it has finished all of them.
    pub(super) shown_below: u64,
    /// The same of a start that is about to come, with its epoch.
    next_shown: (u64, u64),
    /// How far it knows that nothing is for it.
    told: u64,
    told_at: Instant,
    /// When the reader was last where it can be served.
    pub(super) served: Instant,
    pub(super) paused: bool,
    pub(super) queue: VecDeque<Delivery>,
    /// Why nothing more can be read for it.
    pub(super) broken: Option<Error>,
    /// How far it is finished durably.
    pub(super) base: Option<u64>,
}

impl Seat {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            epoch: 0,
            started: false,
            fresh: false,
            attached: false,
            cursor: 0,
            shown_below: 0,
            next_shown: (0, 0),
            told: 0,
            told_at: now,
            served: now,
            paused: false,
            queue: VecDeque::new(),
            broken: None,
            base: None,
        }
    }

    pub(super) fn will_show(&mut self, epoch: u64, below: u64) {
        self.next_shown = (epoch, below);
    }

    /// Begins anew; its queue is empty.
    pub(super) fn start(&mut self, start: &Start, now: Instant) {
        let (epoch, below) = self.next_shown;
        *self = Self {
            epoch: start.epoch,
            started: true,
            fresh: true,
            cursor: start.offset,
            shown_below: if epoch == start.epoch { below } else { 0 },
            told: start.offset,
            paused: self.paused,
            ..Self::new(now)
        };
    }

    /// It could take something now, as far as it is concerned.
    pub(super) fn wants(&self) -> bool {
        self.started && !self.paused && self.broken.is_none()
    }

    /// What the reader at `at` reads next may be for it.
    pub(super) fn is_served(&self, at: u64) -> bool {
        self.attached && self.cursor <= at
    }

    /// The first offset of which it does not know yet what there is.
    pub(super) fn known(&self, at: u64) -> u64 {
        if self.attached { self.cursor.max(at) } else { self.cursor }
    }

    /// What it is to be told, or from when on.
    pub(super) fn passed(&mut self, at: u64, now: Instant) -> Option<Result<u64, Instant>> {
        let known = self.known(at);
        // What is queued comes first: a watermark takes what comes after this for done.
        if !self.wants() || !self.queue.is_empty() || known <= self.told {
            return None;
        }
        let due = self.told_at + PASS_EVERY;
        if now < due {
            return Some(Err(due));
        }
        (self.told, self.told_at) = (known, now);
        Some(Ok(known))
    }
}
