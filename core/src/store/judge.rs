//! Who may be written: decided from facts alone, unit by unit, in order. For store adapters.

use super::{Admission, CommitEvent, Course, Fate};
use crate::env::{Env, Map, Set};
use crate::event::PayloadHash;
use crate::watermark::Watermark;

/// What a transaction found of a group's holds and events, which are known by their number in the group.
pub trait Facts {
    /// C1: the session holds it, as of that grant.
    fn is_held(&self, hold: usize) -> bool;

    /// The store's number for the hold's scope, under which ids are told apart.
    fn scope(&self, hold: usize) -> Option<i64>;

    /// Where a hold's position is the ledger: what it says.
    fn finished(&self, hold: usize) -> Option<&Watermark>;

    /// What ledger and parking table say of an event that was looked for there.
    fn known(&self, number: usize) -> Option<&Admission>;

    /// The store's number for the parked row that an event runs.
    fn unparked(&self, number: usize) -> Option<i64>;

    /// How an event stands. One that runs from the parking table is new as long as its row is there: the row is the
    /// arbiter, not ledger or position (rule P2).
    fn standing(&self, number: usize, event: &CommitEvent) -> Admission {
        if event.unpark.is_some() {
            return if self.unparked(number).is_some() { Admission::Fresh } else { Admission::Finished };
        }
        let by_position = event.ledger.is_none().then(|| self.finished(event.hold)).flatten();
        if by_position.is_some_and(|mark| mark.is_finished(event.offset)) {
            return Admission::Finished;
        }
        self.known(number).cloned().unwrap_or(Admission::Fresh)
    }
}

/// What one transaction decided so far (rules C1, C2, C3, P2).
#[derive(Debug)]
pub struct Judge<'g, F> {
    course: &'g Course<'g>,
    facts: &'g F,
    /// Keys of which an earlier event did not commit. With claims, a key is a key of its partition (S8).
    blocked: Set<(usize, &'g [u8])>,
    /// Ids that this transaction finishes or parks.
    taken: Map<(Option<i64>, &'g [u8]), PayloadHash>,
    /// Parked rows that this transaction takes out (rule P2).
    unparked: Set<i64>,
}

impl<'g, F: Facts> Judge<'g, F> {
    /// A judge for the units from `first` on; what became of those before is in the course.
    #[must_use]
    pub fn new(env: &Env, course: &'g Course<'g>, facts: &'g F, first: usize) -> Self {
        let mut judge = Self { course, facts, blocked: env.set(), taken: env.map(), unparked: env.set() };
        let before = course.group.units.get(first).map_or(0, |_| course.events_of(first).start);
        for (number, (event, fate)) in course.group.events().zip(&course.fates).take(before).enumerate() {
            judge.note(number, event, fate);
        }
        judge
    }

    /// Decides a unit: its events' fates if all goes well. It is to be written when all are `Committed`.
    pub fn rule(&mut self, unit: usize) -> Vec<Fate> {
        let events = &self.course.group.units[unit].events;
        let mut fates: Vec<Fate> =
            self.course.events_of(unit).zip(events).map(|(number, event)| self.fate(number, event)).collect();
        if !fates.iter().all(Fate::is_committed) {
            // Its events stand and fall together; those that could have gone must be run again.
            for fate in fates.iter_mut().filter(|fate| fate.is_committed()) {
                *fate = Fate::Behind;
            }
        }
        for (number, (event, fate)) in self.course.events_of(unit).zip(events.iter().zip(&fates)) {
            self.note(number, event, fate);
        }
        fates
    }

    /// A unit that was ruled to be written was not.
    pub fn failed(&mut self, unit: usize) {
        let events = &self.course.group.units[unit].events;
        for (number, event) in self.course.events_of(unit).zip(events) {
            if let Some(row) = self.row(number, event) {
                self.unparked.remove(&row);
            }
            self.blocked.insert((event.hold, &event.key[..]));
            if event.takes_id().is_some() {
                self.taken.remove(&self.name(event));
            }
        }
    }

    fn fate(&self, number: usize, event: &CommitEvent) -> Fate {
        // C1: left out, not failed.
        if !self.facts.is_held(event.hold) {
            return Fate::Excluded;
        }
        let blocked = self.blocked.contains(&(event.hold, &event.key[..]));
        // A try or a mark finishes nothing: that somebody else finished the event is for its end to find, which
        // then marks its offset.
        if event.is_note() && event.unpark.is_none() {
            return if blocked { Fate::Behind } else { Fate::Committed };
        }
        // C2: only what is new goes on.
        match self.facts.standing(number, event) {
            Admission::Finished | Admission::Parked => return Fate::Duplicate,
            Admission::Conflict => return Fate::Conflict,
            Admission::Fresh | Admission::Tried(_) => {}
        }
        if self.facts.unparked(number).is_some_and(|row| self.unparked.contains(&row)) {
            return Fate::Duplicate;
        }
        if let Some(fate) = self.twice(event) {
            return fate;
        }
        if blocked { Fate::Behind } else { Fate::Committed }
    }

    /// The same id for the second time in one transaction.
    fn twice(&self, event: &CommitEvent) -> Option<Fate> {
        let payload = event.ledger.filter(|_| event.unpark.is_none())?;
        let first = self.taken.get(&(self.facts.scope(event.hold), &event.id.as_bytes()[..]))?;
        match *first == payload {
            true => Some(Fate::Duplicate),
            false if event.is_conflict_letter() => None,
            false => Some(Fate::Conflict),
        }
    }

    /// C3: what did not commit holds its key's later events back. A duplicate is finished, and holds none.
    fn note(&mut self, number: usize, event: &'g CommitEvent, fate: &Fate) {
        match fate {
            Fate::Committed => {
                self.unparked.extend(self.row(number, event));
                if let Some(payload) = event.takes_id() {
                    self.taken.entry(self.name(event)).or_insert(payload);
                }
            }
            Fate::Duplicate => {}
            Fate::Conflict | Fate::Excluded | Fate::Failed(_) | Fate::Behind => {
                self.blocked.insert((event.hold, &event.key[..]));
            }
        }
    }

    /// The parked row that the event takes out.
    fn row(&self, number: usize, event: &CommitEvent) -> Option<i64> {
        self.facts.unparked(number).filter(|_| !event.is_note())
    }

    fn name(&self, event: &'g CommitEvent) -> (Option<i64>, &'g [u8]) {
        (self.facts.scope(event.hold), &event.id.as_bytes()[..])
    }
}
