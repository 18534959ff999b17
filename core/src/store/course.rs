//! A group on its way through one or more transactions: for store adapters.

use std::ops::Range;

use super::{CommitGroup, Fate};
use crate::handler::Failure;

/// What became of a group so far. A group that one transaction can't take is committed in parts, a key's earlier events
/// first; events are known by their number in the group.
#[derive(Debug)]
pub struct Course<'g> {
    /// The group.
    pub group: &'g CommitGroup,
    /// One for each event; `Behind` until something is known.
    pub fates: Vec<Fate>,
    /// The number of each unit's first event.
    starts: Vec<usize>,
    begun: bool,
}

impl<'g> Course<'g> {
    /// Nothing of the group is known.
    #[must_use]
    pub fn new(group: &'g CommitGroup) -> Self {
        let mut starts = Vec::with_capacity(group.units.len());
        let mut events = 0;
        for unit in &group.units {
            starts.push(events);
            events += unit.events.len();
        }
        Self { group, fates: vec![Fate::Behind; events], starts, begun: false }
    }

    /// The numbers of a unit's events.
    #[must_use]
    pub fn events_of(&self, unit: usize) -> Range<usize> {
        let start = self.starts[unit];
        start..start + self.group.units[unit].events.len()
    }

    /// The numbers of the events of some units.
    #[must_use]
    pub fn events_of_all(&self, units: &Range<usize>) -> Range<usize> {
        if units.is_empty() {
            return 0..0;
        }
        self.starts[units.start]..self.events_of(units.end - 1).end
    }

    /// These units are durable, with these fates of the whole group.
    pub fn adopt(&mut self, units: &Range<usize>, fates: Vec<Fate>) {
        self.begun |= !units.is_empty();
        self.fates = fates;
    }

    /// A unit failed; nothing of it was written.
    pub fn fail(&mut self, unit: usize, failure: &Failure) {
        for event in self.events_of(unit) {
            self.fates[event] = Fate::Failed(failure.clone());
        }
    }

    /// Part of the group is durable, so that it must not be committed again as it is.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun
    }
}
