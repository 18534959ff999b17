//! Candidates for the witness: the record below the base that is stored with the position, so that a
//! recreated topic or a restored log is noticed (rule L2).
//!
//! Which record will be the last one below the base isn't known while it is read. So one candidate a batch
//! is kept until the base passes it. A witness close to the base is worth more (it expires last), which is
//! why a full deque is thinned out evenly instead of refusing or forgetting one end.

use std::collections::VecDeque;

use crate::store::Witness;

/// The candidates of one partition in one epoch.
#[derive(Debug, Clone)]
pub struct Witnesses {
    newest_below: Option<Witness>,
    candidates: VecDeque<Witness>,
}

/// How many candidates wait for the base.
const CANDIDATES_MAX: usize = 64;

impl Witnesses {
    /// Starts with the stored witness.
    #[must_use]
    pub fn new(stored: Option<Witness>) -> Self {
        Self { newest_below: stored, candidates: VecDeque::new() }
    }

    /// Offers a record, best the last one of a batch. Only one above all earlier ones is taken.
    pub fn offer(&mut self, candidate: Witness) {
        let newest = self.candidates.back().or(self.newest_below.as_ref());
        if newest.is_some_and(|newest| candidate.offset <= newest.offset) {
            return;
        }
        if self.candidates.len() >= CANDIDATES_MAX {
            self.thin_out();
        }
        self.candidates.push_back(candidate);
    }

    /// The newest candidate below `base`, which is the witness to store with it.
    pub fn advance(&mut self, base: u64) -> Option<Witness> {
        while self.candidates.front().is_some_and(|candidate| candidate.offset < base) {
            self.newest_below = self.candidates.pop_front();
        }
        self.newest_below
    }

    /// Lets go of the candidate whose neighbours are closest to each other; never of the oldest, which the
    /// base reaches first, nor of the newest.
    fn thin_out(&mut self) {
        let gap = |&place: &usize| self.candidates[place + 1].offset - self.candidates[place - 1].offset;
        if let Some(tightest) = (1..self.candidates.len() - 1).min_by_key(gap) {
            self.candidates.remove(tightest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: u64) -> Witness {
        Witness { offset, time: None, hash: offset ^ 0xABCD }
    }

    #[test]
    fn l2_the_witness_is_the_newest_candidate_below_the_base() {
        let mut witnesses = Witnesses::new(Some(record(4)));
        assert_eq!(witnesses.advance(5), Some(record(4)), "the stored one until there is a newer one");
        for offset in [9, 19, 19, 12, 29] {
            witnesses.offer(record(offset));
        }
        assert_eq!(witnesses.advance(9), Some(record(4)), "the base itself isn't finished");
        assert_eq!(witnesses.advance(25), Some(record(19)));
        assert_eq!(witnesses.advance(30), Some(record(29)));
        assert_eq!(Witnesses::new(None).advance(u64::MAX), None);
    }

    #[test]
    fn l2_witnesses_are_bounded_and_stay_spread_over_what_waits() {
        let mut witnesses = Witnesses::new(None);
        for offset in 0..10_000 {
            witnesses.offer(record(offset));
            assert!(witnesses.candidates.len() <= 64);
        }
        assert_eq!(witnesses.advance(1), Some(record(0)));
        let mut newest = 0;
        for base in (0..10_000).step_by(1000).skip(1) {
            let below = witnesses.advance(base).unwrap();
            assert!(below.offset > newest && below.offset < base);
            newest = below.offset;
        }
        assert_eq!(witnesses.advance(10_000), Some(record(9_999)));
    }
}
