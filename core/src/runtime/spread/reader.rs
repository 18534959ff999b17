//! Where the broker's consumer stands in one partition, and where it is to go next.

use std::time::Duration;

use super::seat::Seat;
use crate::broker::{Base, Partition, Start};
use crate::env::Instant;
use crate::store::Witness;

/// How long a home is served while others wait elsewhere in the log.
const SLICE: Duration = Duration::from_millis(500);
/// The least time between two moves of a reader, where nobody is served.
const MOVE_EVERY: Duration = Duration::from_millis(50);
/// What a home's epoch weighs in the reader's: more than a reader ever moves in one tenure. So the epochs grow from
/// worker to worker, as those of the homes do.
const EPOCH_BITS: u32 = 24;

pub(super) struct Reader {
    pub(super) epoch: u64,
    /// All from here on will come.
    pub(super) at: u64,
    pub(super) reading: bool,
    pub(super) paused: bool,
    since: Instant,
    pub(super) last: Option<Witness>,
    /// What the broker was told.
    pub(super) told: Option<Base>,
    pub(super) seats: Vec<Seat>,
}

impl Reader {
    /// Of one that is assigned now; it was read under this epoch before.
    pub(super) fn new(homes: usize, epoch: u64, now: Instant) -> Self {
        let seats = (0..homes).map(|_| Seat::new(now)).collect();
        Self { epoch, at: 0, reading: false, paused: false, since: now, last: None, told: None, seats }
    }

    /// The seats that have room.
    pub(super) fn wants<'r>(&'r self, open: &'r [bool]) -> impl Iterator<Item = &'r Seat> {
        self.seats.iter().zip(open).filter(|(seat, open)| **open && seat.wants()).map(|(seat, _)| seat)
    }

    /// Where it is to go on, or when it may; `None`: where it is. Somebody wants something.
    pub(super) fn next(&self, open: &[bool], now: Instant, hold: bool) -> Option<Result<u64, Instant>> {
        if !self.reading {
            return self.wants(open).map(|seat| seat.cursor).min().map(Ok);
        }
        let elsewhere = self.wants(open).filter(|seat| !seat.is_served(self.at));
        let Some(next) = elsewhere.min_by_key(|seat| (!seat.fresh, seat.served, seat.cursor)) else {
            // A home began here after the last move: a position of the worker before must not weigh more.
            return (self.epoch < self.weight()).then_some(Ok(self.at));
        };
        let served = self.wants(open).any(|seat| seat.is_served(self.at));
        let at = match (next.fresh, served) {
            (true, _) => self.since,
            (false, true) => self.since + SLICE,
            (false, false) => self.since + MOVE_EVERY,
        };
        if hold && !next.fresh {
            return None;
        }
        Some(if now >= at { Ok(next.cursor) } else { Err(at) })
    }

    /// What the homes' epochs come to.
    fn weight(&self) -> u64 {
        self.seats.iter().map(|seat| seat.epoch).sum::<u64>() << EPOCH_BITS
    }

    pub(super) fn go(&mut self, partition: Partition, offset: u64, now: Instant) -> Start {
        self.fold();
        self.epoch = (self.epoch + 1).max(self.weight());
        self.at = offset;
        self.since = now;
        self.reading = true;
        self.last = None;
        for seat in self.seats.iter_mut().filter(|seat| seat.started) {
            seat.attached = seat.cursor >= offset;
            seat.fresh &= !seat.attached;
        }
        Start { partition, offset, epoch: self.epoch }
    }

    /// Writes down where everybody is.
    pub(super) fn fold(&mut self) {
        for seat in &mut self.seats {
            seat.cursor = seat.known(self.at);
        }
    }

    /// Nothing is read from now on.
    pub(super) fn leave(&mut self) {
        self.fold();
        self.reading = false;
        self.seats.iter_mut().for_each(|seat| seat.attached = false);
    }

    /// What the broker is to be told: how far the last of all homes is (rule S10). One that never said holds it.
    pub(super) fn least(&mut self, partition: Partition) -> Option<Base> {
        let bases = self.seats.iter().map(|seat| seat.base);
        let offset = bases.collect::<Option<Vec<u64>>>()?.into_iter().min()?;
        let least = Base { partition, epoch: self.epoch, offset };
        (self.reading && self.told.replace(least) != Some(least)).then_some(least)
    }
}
