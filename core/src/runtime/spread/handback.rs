//! One answer to a revocation, made of those of all homes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::broker::{Base, Handback, Partition};

/// What the homes said so far.
struct Joined {
    /// `None` once the broker was answered.
    handback: Option<Handback>,
    answered: Vec<bool>,
    /// The epoch under which each partition was read.
    epochs: BTreeMap<Partition, u64>,
    /// How many said how far they are, and the least of that.
    bases: BTreeMap<Partition, (usize, u64)>,
}

/// A revocation that not all homes have answered.
pub(super) struct Revocation(Arc<Mutex<Joined>>);

/// A handback for each home; the broker is answered with the last of them. A partition of which a home says nothing is
/// left out: nobody knows how far that one is (rule S10).
pub(super) fn split(
    handback: Handback,
    homes: usize,
    epochs: BTreeMap<Partition, u64>,
) -> (Vec<Handback>, Revocation) {
    let answered = vec![false; homes];
    let joined = Joined { handback: Some(handback), answered, epochs, bases: BTreeMap::new() };
    let joined = Arc::new(Mutex::new(joined));
    let one = |home| {
        let joined = joined.clone();
        Handback::new(move |bases| lock(&joined).answer(home, bases))
    };
    ((0..homes).map(one).collect(), Revocation(joined))
}

impl Revocation {
    pub(super) fn is_over(&self) -> bool {
        lock(&self.0).handback.is_none()
    }

    /// Answers without the homes that did not even hear of it, if nobody else is missing: their store is away, and
    /// their claims keep others from what they may still do.
    pub(super) fn without(&self, unheard: &[bool]) {
        let mut joined = lock(&self.0);
        if joined.answered.iter().zip(unheard).all(|(answered, unheard)| *answered || *unheard) {
            joined.done();
        }
    }
}

impl Joined {
    fn answer(&mut self, home: usize, bases: Vec<Base>) {
        for base in bases {
            let (count, least) = self.bases.entry(base.partition).or_insert((0, base.offset));
            *count += 1;
            *least = base.offset.min(*least);
        }
        self.answered[home] = true;
        if self.answered.iter().all(|answered| *answered) {
            self.done();
        }
    }

    fn done(&mut self) {
        let homes = self.answered.len();
        let all = self.bases.iter().filter(|(_, (count, _))| *count == homes);
        let all = all.filter_map(|(partition, (_, offset))| {
            Some(Base { partition: *partition, epoch: *self.epochs.get(partition)?, offset: *offset })
        });
        let all = all.collect();
        if let Some(handback) = self.handback.take() {
            handback.done(all);
        }
    }
}

fn lock(joined: &Mutex<Joined>) -> MutexGuard<'_, Joined> {
    joined.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(of_second: Option<Vec<Base>>) -> Vec<Base> {
        let answered = Arc::new(Mutex::new(None));
        let keep = answered.clone();
        let handback = Handback::new(move |bases| *keep.lock().unwrap() = Some(bases));
        let (mut parts, _) = split(handback, 2, BTreeMap::from([(0, 70), (1, 71)]));
        let (second, first) = (parts.pop().unwrap(), parts.pop().unwrap());
        first.done(vec![base(0, 5), base(1, 9)]);
        assert!(answered.lock().unwrap().is_none(), "it waits for all homes");
        match of_second {
            Some(bases) => second.done(bases),
            None => drop(second),
        }
        let bases = answered.lock().unwrap().take();
        bases.unwrap()
    }

    fn base(partition: u32, offset: u64) -> Base {
        Base { partition, epoch: 3, offset }
    }

    #[test]
    fn s10_a_revocation_is_answered_with_the_least_of_all_homes() {
        let told = answers(Some(vec![base(0, 8), base(1, 2)]));
        let expected =
            [Base { partition: 0, epoch: 70, offset: 5 }, Base { partition: 1, epoch: 71, offset: 2 }];
        assert_eq!(told, expected);
        let told = answers(Some(vec![base(1, 2)]));
        assert_eq!(told, [Base { partition: 1, epoch: 71, offset: 2 }], "one home does not know partition 0");
        assert_eq!(answers(None), []);
    }

    #[test]
    fn s10_a_revocation_does_not_wait_for_a_home_that_does_not_hear() {
        let answered = Arc::new(Mutex::new(None));
        let keep = answered.clone();
        let handback = Handback::new(move |bases| *keep.lock().unwrap() = Some(bases));
        let (mut parts, revocation) = split(handback, 3, BTreeMap::from([(0, 70)]));
        let (third, second, first) = (parts.pop().unwrap(), parts.pop().unwrap(), parts.pop().unwrap());
        first.done(vec![base(0, 5)]);
        revocation.without(&[false, false, true]);
        assert!(!revocation.is_over(), "the second has heard, and has its time");
        second.done(vec![base(0, 5)]);
        assert!(!revocation.is_over());
        revocation.without(&[false, false, true]);
        assert!(revocation.is_over());
        third.done(vec![base(0, 5)]);
        assert_eq!(answered.lock().unwrap().take(), Some(vec![]), "how far the third is nobody knew");
    }
}
