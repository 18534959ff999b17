//! What a home is told before any delivery.
//!
//! One whose store is away does not listen for a while, and partitions come and go meanwhile. What would only undo
//! something that it has not heard of is not told, so that no more lies here than there are partitions.

use std::collections::{BTreeSet, VecDeque};

use crate::broker::{Change, Partition};
use crate::error::Error;

#[derive(Default)]
pub(super) struct Mail {
    changes: VecDeque<Change>,
    pub(super) error: Option<Error>,
}

impl Mail {
    pub(super) fn is_unheard(&self) -> bool {
        !self.changes.is_empty()
    }

    pub(super) fn take(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    pub(super) fn put(&mut self, change: Change) {
        match change {
            Change::Assigned(partitions) => self.assigned(partitions),
            Change::Revoking { partitions, handback } => {
                let partitions = self.left(partitions);
                // Else the answer is dropped, and tells nothing of what the home never began.
                if !partitions.is_empty() {
                    self.changes.push_back(Change::Revoking { partitions, handback });
                }
            }
            Change::Lost(partitions) => {
                let partitions = self.left(partitions);
                if !partitions.is_empty() {
                    self.changes.push_back(Change::Lost(partitions));
                }
            }
            Change::Void { epoch } => {
                self.changes.retain(|change| !matches!(change, Change::Void { .. }));
                self.changes.push_back(Change::Void { epoch });
            }
            change @ Change::Broken { .. } => self.changes.push_back(change),
        }
    }

    fn assigned(&mut self, partitions: Vec<Partition>) {
        match self.changes.back_mut() {
            Some(Change::Assigned(known)) => {
                let new = partitions.into_iter().filter(|partition| !known.contains(partition));
                let new: Vec<_> = new.collect();
                known.extend(new);
            }
            _ => self.changes.push_back(Change::Assigned(partitions)),
        }
    }

    /// Those of which it has to hear that they are not its own any more: it has heard that they are, and not yet that
    /// they went.
    fn left(&mut self, partitions: Vec<Partition>) -> Vec<Partition> {
        let mut gone = BTreeSet::new();
        self.changes.retain_mut(|change| match change {
            Change::Assigned(known) => {
                known.retain(|partition| !partitions.contains(partition));
                !known.is_empty()
            }
            Change::Revoking { partitions, .. } | Change::Lost(partitions) => {
                gone.extend(partitions.iter().copied());
                true
            }
            Change::Broken { .. } | Change::Void { .. } => true,
        });
        partitions.into_iter().filter(|partition| !gone.contains(partition)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::broker::Handback;

    fn heard(mail: &mut Mail) -> Vec<String> {
        std::iter::from_fn(|| mail.take()).map(|change| format!("{change:?}")).collect()
    }

    #[test]
    fn s10_what_comes_and_goes_unheard_is_not_piled_up() {
        let answers = Arc::new(AtomicUsize::new(0));
        let handback = || {
            let answers = answers.clone();
            Handback::new(move |_| _ = answers.fetch_add(1, Ordering::Relaxed))
        };
        let mut mail = Mail::default();
        mail.put(Change::Assigned(vec![0, 1]));
        assert_eq!(heard(&mut mail), ["Assigned([0, 1])"]);
        for _ in 0..100 {
            mail.put(Change::Revoking { partitions: vec![0, 1], handback: handback() });
            mail.put(Change::Assigned(vec![0, 1]));
            mail.put(Change::Lost(vec![1]));
            mail.put(Change::Assigned(vec![1, 2]));
            mail.put(Change::Lost(vec![2]));
        }
        assert_eq!(answers.load(Ordering::Relaxed), 99, "one answer is the home's to give");
        let revoking = "Revoking { partitions: [0, 1], handback: Handback }";
        assert_eq!(heard(&mut mail), [revoking, "Lost([2])", "Assigned([0, 1])"]);
    }

    #[test]
    fn of_replaced_connections_the_last_is_told() {
        let mut mail = Mail::default();
        (2..50).for_each(|epoch| mail.put(Change::Void { epoch }));
        assert_eq!(heard(&mut mail), ["Void { epoch: 49 }"]);
    }
}
