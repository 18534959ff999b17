//! What is known of the partitions of a source: one reader each, from which every home is served.
//!
//! The broker's consumer stands at one offset of a partition. A home is *attached* while all that is for it will come as
//! the reader goes on. One that has no room left is passed over after a while: its cursor stays at the first event that
//! it did not get. When it has room again, the reader goes back there, and forward again to the others after a slice of
//! time, so that nobody waits for long behind a home that has much to catch up with. Each such move is a new start of the
//! consumer, under an epoch of its own that only grows; what still comes of an older one is dropped.

use std::collections::BTreeMap;

use super::Room;
use super::pump::{HOLD, PULL_MAX};
use super::reader::Reader;
use super::seat::{Passed, Seat};
use crate::broker::{Base, Change, Partition, Start};
use crate::delivery::{Delivery, Ticket};
use crate::env::Instant;
use crate::error::Error;
use crate::store::Witness;

pub(super) struct Readers {
    homes: Vec<Home>,
    partitions: BTreeMap<Partition, Reader>,
    /// The last epoch of partitions that are not ours now.
    epochs: BTreeMap<Partition, u64>,
    room: Room,
}

/// What of a home lies here.
#[derive(Default)]
struct Home {
    messages: usize,
    bytes: usize,
    /// It was full then, and is not half empty since.
    full: Option<Instant>,
    /// Which partition is looked at first, so that none starves another.
    turn: Partition,
}

/// What the consumer is to be told now.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) starts: Vec<Start>,
    pub(super) pause: Vec<Partition>,
    pub(super) resume: Vec<Partition>,
    pub(super) credits: usize,
    /// When to look again, if nothing else happens.
    pub(super) until: Option<Instant>,
}

impl Plan {
    pub(super) fn look_at(&mut self, at: Instant) {
        self.until = Some(self.until.map_or(at, |until| until.min(at)));
    }
}

impl Readers {
    pub(super) fn new(homes: usize, room: Room) -> Self {
        let homes = (0..homes).map(|_| Home::default()).collect();
        Self { homes, partitions: BTreeMap::new(), epochs: BTreeMap::new(), room }
    }

    pub(super) fn assigned(&mut self, partition: Partition, now: Instant) {
        self.removed(partition);
        let epoch = self.epochs.get(&partition).copied().unwrap_or(0);
        self.partitions.insert(partition, Reader::new(self.homes.len(), epoch, now));
    }

    /// It is not ours any more; the epoch under which it was read.
    pub(super) fn removed(&mut self, partition: Partition) -> Option<u64> {
        let mut reader = self.partitions.remove(&partition)?;
        for (home, seat) in self.homes.iter_mut().zip(&mut reader.seats) {
            home.forget(seat);
        }
        self.epochs.insert(partition, reader.epoch);
        Some(reader.epoch)
    }

    pub(super) fn seat(&mut self, home: usize, partition: Partition) -> Option<&mut Seat> {
        self.partitions.get_mut(&partition).map(|reader| &mut reader.seats[home])
    }

    pub(super) fn start(&mut self, home: usize, start: &Start, now: Instant) {
        let Some(reader) = self.partitions.get_mut(&start.partition) else { return };
        let seat = &mut reader.seats[home];
        if seat.epoch > start.epoch {
            return;
        }
        self.homes[home].forget(seat);
        seat.start(start, now);
        if reader.reading && start.offset >= reader.at {
            seat.attached = true;
            seat.fresh = false;
        }
    }

    pub(super) fn set_paused(&mut self, home: usize, partitions: Option<&[Partition]>, paused: bool) {
        for (partition, reader) in &mut self.partitions {
            if partitions.is_none_or(|some| some.contains(partition)) {
                reader.seats[home].paused = paused;
            }
        }
    }

    pub(super) fn is_full(&self, home: usize) -> bool {
        self.homes[home].full.is_some()
    }

    /// What the homes want of the consumer now.
    pub(super) fn plan(&mut self, now: Instant) -> Plan {
        let mut plan = Plan::default();
        for at in 0..self.homes.len() {
            self.look(at, now);
        }
        let full = self.homes.iter().filter_map(|home| home.full);
        let hold = full.map(|since| since + HOLD).filter(|held| *held > now).min();
        let open: Vec<bool> = self.homes.iter().map(|home| home.full.is_none()).collect();
        let mut any = false;
        for (partition, reader) in &mut self.partitions {
            if !reader.wants(&open).any(|_| true) {
                if reader.reading && !std::mem::replace(&mut reader.paused, true) {
                    plan.pause.push(*partition);
                }
                continue;
            }
            any = true;
            if std::mem::take(&mut reader.paused) {
                plan.resume.push(*partition);
            }
            match reader.next(&open, now, hold.is_some()) {
                None => {}
                Some(Err(at)) => plan.look_at(at),
                Some(Ok(offset)) => {
                    plan.starts.push(reader.go(*partition, offset, now));
                }
            }
        }
        // For a moment all wait for a home that is full: reading again would cost more.
        plan.credits = if any && hold.is_none() { PULL_MAX } else { 0 };
        if let Some(held) = hold {
            plan.look_at(held);
        }
        plan
    }

    /// Whether a home is full. What it does not want of a paused partition must not keep it from the others.
    fn look(&mut self, at: usize, now: Instant) {
        let (home, room) = (&mut self.homes[at], self.room);
        if home.has_room(room) {
            home.full = None;
        } else if home.messages >= room.messages || home.bytes >= room.bytes {
            home.full.get_or_insert(now);
        }
        if home.full.is_some() {
            for reader in self.partitions.values_mut() {
                let seat = &mut reader.seats[at];
                if let Some(first) =
                    seat.queue.front().filter(|_| seat.paused).map(|first| first.place.offset)
                {
                    home.forget(seat);
                    seat.attached = false;
                    seat.cursor = first;
                }
            }
            if home.has_room(room) {
                home.full = None;
            }
        }
    }

    /// Gives what was read to the homes that it is for. `last` tells a witness of each partition's last.
    pub(super) fn hand_out(
        &mut self,
        deliveries: Vec<(usize, Delivery)>,
        last: &[(Partition, Witness)],
        now: Instant,
    ) {
        for (home, delivery) in deliveries {
            let (partition, offset) = (delivery.place.partition, delivery.place.offset);
            let Some(reader) = self.partitions.get_mut(&partition) else { continue };
            if !reader.reading || delivery.place.epoch != reader.epoch || offset < reader.at {
                continue;
            }
            reader.at = offset + 1;
            for (at, seat) in reader.seats.iter_mut().enumerate() {
                if at != home && seat.attached && seat.cursor <= offset && offset < seat.shown_below {
                    self.homes[at].give(seat, again(&delivery));
                }
            }
            let (seat, home) = (&mut reader.seats[home], &mut self.homes[home]);
            if !seat.started || !seat.attached || offset < seat.cursor {
                continue;
            }
            seat.cursor = offset;
            if home.full.is_some() {
                // It has to be read again for it from here.
                seat.attached = false;
            } else {
                home.give(seat, delivery);
            }
        }
        for (partition, witness) in last {
            let Some(reader) = self.partitions.get_mut(partition) else { continue };
            reader.last = Some(*witness).filter(|witness| witness.offset < reader.at);
            for seat in reader.seats.iter_mut().filter(|seat| seat.is_served(reader.at)) {
                seat.served = now;
            }
        }
    }

    /// What lies here for a home, at most so many.
    pub(super) fn take(&mut self, at: usize, credits: usize) -> Vec<Delivery> {
        let home = &mut self.homes[at];
        let mut taken = Vec::new();
        let turn = home.turn;
        let mut order: Vec<Partition> =
            self.partitions.range(turn..).map(|(partition, _)| *partition).collect();
        order.extend(self.partitions.range(..turn).map(|(partition, _)| *partition));
        for partition in order {
            let Some(reader) = self.partitions.get_mut(&partition) else { continue };
            let seat = &mut reader.seats[at];
            if seat.paused || seat.queue.is_empty() {
                continue;
            }
            if taken.len() == credits {
                break;
            }
            home.turn = partition + 1;
            let n = seat.queue.len().min(credits - taken.len());
            taken.extend(seat.queue.drain(..n));
        }
        home.messages -= taken.len();
        home.bytes -= taken.iter().map(|delivery| delivery.record.footprint()).sum::<usize>();
        taken
    }

    /// A partition of which all was taken that can be read.
    pub(super) fn take_broken(&mut self, home: usize) -> Option<Change> {
        self.partitions.iter_mut().find_map(|(partition, reader)| {
            let seat = &mut reader.seats[home];
            if !seat.queue.is_empty() || !seat.started {
                return None;
            }
            let error = seat.broken.as_ref().map(copy)?;
            // Until its next start.
            seat.started = false;
            Some(Change::Broken { partition: *partition, epoch: seat.epoch, error })
        })
    }

    /// How far a home's partitions were read without anything for it, or when to ask again.
    pub(super) fn passed(&mut self, home: usize, now: Instant) -> Result<Passed, Option<Instant>> {
        let mut due: Option<Instant> = None;
        for (partition, reader) in &mut self.partitions {
            let Reader { at, last, .. } = *reader;
            let seat = &mut reader.seats[home];
            match seat.passed(at, now) {
                None => {}
                Some(Err(later)) => due = Some(due.map_or(later, |due| due.min(later))),
                Some(Ok(below)) => {
                    let last = last.filter(|last| last.offset < below);
                    return Ok(Passed { partition: *partition, epoch: seat.epoch, below, last });
                }
            }
        }
        Err(due)
    }

    /// A home is finished so far; what the broker is to be told.
    pub(super) fn commit(&mut self, home: usize, bases: &[Base]) -> Vec<Base> {
        let mut least = Vec::new();
        for base in bases {
            let Some(reader) = self.partitions.get_mut(&base.partition) else { continue };
            let seat = &mut reader.seats[home];
            if seat.started && seat.epoch == base.epoch {
                seat.base = Some(base.offset);
                least.extend(reader.least(base.partition));
            }
        }
        least
    }

    /// What the broker is to be told of these, whatever it was told under an older epoch.
    pub(super) fn tell_again(&mut self, starts: &[Start]) -> Vec<Base> {
        let again = starts.iter().filter_map(|start| {
            let reader = self.partitions.get_mut(&start.partition)?;
            reader.told = None;
            reader.least(start.partition)
        });
        again.collect()
    }

    /// The broker did not take these: they are to be said again.
    pub(super) fn not_told(&mut self, bases: &[Base]) {
        for base in bases {
            if let Some(reader) = self.partitions.get_mut(&base.partition)
                && reader.told == Some(*base)
            {
                reader.told = None;
            }
        }
    }

    /// Nothing more can be read for those who are served.
    pub(super) fn broken(&mut self, partition: Partition, epoch: u64, error: &Error) {
        let Some(reader) = self.partitions.get_mut(&partition).filter(|reader| reader.epoch == epoch) else {
            return;
        };
        reader.fold();
        for seat in reader.seats.iter_mut().filter(|seat| seat.is_served(reader.at)) {
            seat.broken = Some(copy(error));
        }
        reader.leave();
    }

    /// The reader is to begin again.
    pub(super) fn not_started(&mut self, starts: &[Start]) {
        for start in starts {
            if let Some(reader) = self.partitions.get_mut(&start.partition)
                && reader.epoch == start.epoch
            {
                reader.leave();
            }
        }
    }
}

impl Home {
    fn has_room(&self, room: Room) -> bool {
        self.messages <= room.messages / 2 && self.bytes <= room.bytes / 2
    }

    fn give(&mut self, seat: &mut Seat, mut delivery: Delivery) {
        seat.cursor = delivery.place.offset + 1;
        delivery.place.epoch = seat.epoch;
        self.messages += 1;
        self.bytes += delivery.record.footprint();
        seat.queue.push_back(delivery);
    }

    /// What lies here of a seat is for somebody else, or will be read again.
    fn forget(&mut self, seat: &mut Seat) {
        self.messages -= seat.queue.len();
        self.bytes -= seat.queue.iter().map(|delivery| delivery.record.footprint()).sum::<usize>();
        seat.queue.clear();
    }
}

/// The same record, for one more home that only looks at it. Nobody asks for its ticket: positions are settled.
fn again(delivery: &Delivery) -> Delivery {
    let ticket = Ticket::new(delivery.ticket.number());
    Delivery { record: delivery.record.clone(), place: delivery.place, attempt: delivery.attempt, ticket }
}

/// The same error, for one more home.
pub(super) fn copy(error: &Error) -> Error {
    Error::new(error.kind(), error.to_string()).with_class(error.class())
}
