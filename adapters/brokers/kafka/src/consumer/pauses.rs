//! Which partitions must deliver nothing for now.

use std::collections::BTreeSet;

use keylane::broker::Partition;

/// Pauses by number, or of everything with exceptions. They outlast reassignments.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    all: bool,
    /// The paused ones; with `all`, the ones that are not.
    listed: BTreeSet<Partition>,
}

impl Pauses {
    /// `None`: every partition, also those assigned later.
    pub(super) fn pause(&mut self, partitions: Option<&[Partition]>) {
        self.set(true, partitions);
    }

    /// `None`: every partition.
    pub(super) fn resume(&mut self, partitions: Option<&[Partition]>) {
        self.set(false, partitions);
    }

    pub(super) fn holds(&self, partition: Partition) -> bool {
        self.all != self.listed.contains(&partition)
    }

    pub(super) fn none(&self) -> bool {
        !self.all && self.listed.is_empty()
    }

    fn set(&mut self, pause: bool, partitions: Option<&[Partition]>) {
        let Some(partitions) = partitions else {
            (self.all, self.listed) = (pause, BTreeSet::new());
            return;
        };
        for partition in partitions {
            if self.all == pause {
                self.listed.remove(partition);
            } else {
                self.listed.insert(*partition);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_all_combine() {
        let mut pauses = Pauses::default();
        assert!(pauses.none());
        pauses.pause(Some(&[2]));
        assert!(pauses.holds(2) && !pauses.holds(1));
        pauses.pause(None);
        pauses.resume(Some(&[1]));
        assert!(pauses.holds(2) && !pauses.holds(1) && pauses.holds(7));
        pauses.pause(Some(&[1]));
        assert!(pauses.holds(1));
        pauses.resume(None);
        assert!(pauses.none());
    }
}
