//! What waits for each home of a broker without partitions.
//!
//! A home that takes nothing has a full line. For a moment the others wait for it; after that its further deliveries are
//! kept apart for a while and then given back, so that another worker, who may reach that database, can have them. What
//! was handed over before is not given back again, but held until its line has room: brokers count attempts, and an outage
//! must not use them up (rule T5). Where the broker keeps an order nothing is given back: later events of a key would
//! pass it.

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
    /// No room for them, and not to be given back a second time: next in the queue.
    held: VecDeque<Delivery>,
    held_bytes: usize,
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
                (Some(_), None) if line.held_bytes >= self.room.bytes => 0,
                (Some(_), None) => self.room.kept.saturating_sub(line.returning.len() + line.held.len()),
            };
            credits = credits.min(more);
        }
        (credits, until)
    }

    pub(super) fn put(&mut self, home: usize, delivery: Delivery, now: Instant) {
        let (room, ordered) = (self.room, self.ordered);
        let line = &mut self.lines[home];
        if line.full.is_some() && !ordered {
            // Where attempts are not counted, none is used up.
            if delivery.attempt.is_some_and(|attempt| attempt > 1) {
                line.held_bytes += delivery.record.footprint();
                line.held.push_back(delivery);
            } else {
                line.returning.push_back((now + RETURN_AFTER, delivery.ticket));
            }
            return;
        }
        line.queue(delivery);
        if !line.has_room(room) {
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
        while line.has_room(room)
            && let Some(delivery) = line.held.pop_front()
        {
            line.held_bytes -= delivery.record.footprint();
            line.queue(delivery);
        }
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
            line.held.clear();
            line.held_bytes = 0;
        }
    }

    /// Gives everything back.
    pub(super) fn empty(&mut self) -> Vec<Settled> {
        let mut back = Vec::new();
        for line in &mut self.lines {
            let Line { queue, returning, held, .. } = std::mem::take(line);
            let tickets = queue.into_iter().chain(held).map(|delivery| delivery.ticket);
            let tickets = tickets.chain(returning.into_iter().map(|(_, ticket)| ticket));
            back.extend(tickets.map(|ticket| ticket.settle(Settlement::Release)));
        }
        back
    }
}

impl Line {
    fn has_room(&self, room: Room) -> bool {
        self.queue.len() < room.messages && self.bytes < room.bytes
    }

    fn queue(&mut self, delivery: Delivery) {
        self.bytes += delivery.record.footprint();
        self.queue.push_back(delivery);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Place;
    use crate::event::Record;

    fn at(millis: u64) -> Instant {
        Instant::at(Duration::from_millis(millis))
    }

    fn delivery(number: u64, attempt: Option<u32>) -> Delivery {
        let place = Place { partition: 0, epoch: 1, offset: number };
        Delivery { record: Record::new("x"), place, attempt, ticket: Ticket::new(number) }
    }

    fn full(attempt: Option<u32>) -> Lines {
        let mut lines = Lines::new(2, Room { messages: 4, bytes: 1 << 20, kept: 6 }, false);
        (0..4).for_each(|number| lines.put(0, delivery(number, Some(1)), at(0)));
        (4..8).for_each(|number| lines.put(0, delivery(number, attempt), at(200)));
        lines
    }

    #[test]
    fn t5_what_was_handed_over_before_is_held_until_there_is_room() {
        let mut lines = full(Some(2));
        assert_eq!(lines.due(at(60_000)).len(), 0);
        assert_eq!(lines.credits(at(60_000)).0, 2, "what is held counts as kept");
        let numbers = |taken: Vec<Delivery>| taken.iter().map(|one| one.place.offset).collect::<Vec<_>>();
        assert_eq!(numbers(lines.take(0, 3)), [0, 1, 2]);
        assert_eq!((lines.is_full(0), lines.credits(at(60_000)).0), (true, 4), "three of them have room");
        assert_eq!(numbers(lines.take(0, 9)), [3, 4, 5, 6]);
        assert!(!lines.is_full(0));
        assert_eq!(numbers(lines.take(0, 9)), [7]);
        assert_eq!((lines.lines[0].bytes, lines.lines[0].held_bytes), (0, 0));
        let mut lines = full(Some(2));
        assert_eq!(lines.empty().len(), 8, "a drain gives all of it back");
    }

    #[test]
    fn what_came_for_the_first_time_or_is_not_counted_is_given_back() {
        for attempt in [Some(1), None] {
            let mut lines = full(attempt);
            assert_eq!(lines.due(at(1_199)).len(), 0);
            assert_eq!(lines.due(at(1_200)).len(), 4, "{attempt:?}");
        }
    }

    #[test]
    fn what_is_held_is_bounded_in_bytes() {
        let bytes = 2 * delivery(0, None).record.footprint();
        let mut lines = Lines::new(2, Room { messages: 4, bytes, kept: 1_000 }, false);
        (0..3).for_each(|number| lines.put(0, delivery(number, Some(2)), at(0)));
        assert!(lines.credits(at(200)).0 > 0);
        lines.put(0, delivery(3, Some(2)), at(200));
        assert_eq!(lines.credits(at(200)).0, 0);
    }
}
