//! What waits for each home of a broker without partitions.
//!
//! A home that takes nothing has a full line. For a moment the others wait for it; after that its further deliveries are
//! kept apart for a while and then given back, so that another worker, who may reach that database, can have them. Where
//! the broker keeps an order nothing is given back: later events of a key would pass it.

use std::collections::VecDeque;
use std::time::Duration;

use super::Room;
use super::pump::{HOLD, PULL_MAX};
use crate::delivery::{Delivery, Settled, Settlement, Ticket};
use crate::env::Instant;

/// How long a delivery is kept that its home has no room for.
const RETURN_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Lines {
    lines: Vec<Line>,
    room: Room,
    ordered: bool,
}

#[derive(Default)]
struct Line {
    queue: VecDeque<Delivery>,
    bytes: usize,
    /// It was full then, and is not half empty since.
    full: Option<Instant>,
    /// No room for them; given back at that time.
    returning: VecDeque<(Instant, Ticket)>,
}

impl Lines {
    pub(super) fn new(homes: usize, room: Room, ordered: bool) -> Self {
        Self { lines: (0..homes).map(|_| Line::default()).collect(), room, ordered }
    }

    /// How many deliveries may be pulled now; what comes never exceeds the room. Until when that holds, if no home
    /// takes anything.
    pub(super) fn credits(&self, now: Instant) -> (usize, Option<Instant>) {
        let mut credits = PULL_MAX;
        let mut until = self.lines.iter().filter_map(|line| Some(line.returning.front()?.0)).min();
        for line in &self.lines {
            let held = line.full.map(|since| since + HOLD).filter(|held| *held > now);
            let more = match (line.full, held) {
                (None, _) => self.room.messages.saturating_sub(line.queue.len()),
                (Some(_), Some(held)) => {
                    until = Some(until.map_or(held, |until| until.min(held)));
                    0
                }
                (Some(_), None) if self.ordered => 0,
                (Some(_), None) => self.room.kept.saturating_sub(line.returning.len()),
            };
            credits = credits.min(more);
        }
        (credits, until)
    }

    pub(super) fn put(&mut self, home: usize, delivery: Delivery, now: Instant) {
        let (room, ordered) = (self.room, self.ordered);
        let line = &mut self.lines[home];
        if line.full.is_some() && !ordered {
            line.returning.push_back((now + RETURN_AFTER, delivery.ticket));
            return;
        }
        line.bytes += delivery.record.footprint();
        line.queue.push_back(delivery);
        if line.queue.len() >= room.messages || line.bytes >= room.bytes {
            line.full.get_or_insert(now);
        }
    }

    pub(super) fn is_full(&self, home: usize) -> bool {
        self.lines[home].full.is_some()
    }

    pub(super) fn take(&mut self, home: usize, credits: usize) -> Vec<Delivery> {
        let room = self.room;
        let line = &mut self.lines[home];
        let n = credits.min(line.queue.len());
        let taken: Vec<Delivery> = line.queue.drain(..n).collect();
        line.bytes -= taken.iter().map(|delivery| delivery.record.footprint()).sum::<usize>();
        if line.queue.len() <= room.messages / 2 && line.bytes <= room.bytes / 2 {
            line.full = None;
        }
        taken
    }

    /// What is given back now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Settled> {
        let mut due = Vec::new();
        for line in &mut self.lines {
            while line.returning.front().is_some_and(|(at, _)| *at <= now)
                && let Some((_, ticket)) = line.returning.pop_front()
            {
                due.push(ticket.settle(Settlement::Release));
            }
        }
        due
    }

    /// The connection was replaced: what was to be given back comes again by itself.
    pub(super) fn void(&mut self) {
        for line in &mut self.lines {
            line.returning.clear();
        }
    }

    /// Gives everything back.
    pub(super) fn empty(&mut self) -> Vec<Settled> {
        let mut back = Vec::new();
        for line in &mut self.lines {
            let Line { queue, returning, .. } = std::mem::take(line);
            let tickets = queue.into_iter().map(|delivery| delivery.ticket);
            let tickets = tickets.chain(returning.into_iter().map(|(_, ticket)| ticket));
            back.extend(tickets.map(|ticket| ticket.settle(Settlement::Release)));
        }
        back
    }
}
