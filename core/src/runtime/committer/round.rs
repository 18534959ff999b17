//! A group in the making: what goes into one transaction, and which keys end with it.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Letter;
use super::queue::address;
use crate::env::{Env, Map, Set};
use crate::runtime::tenure::Tenure;
use crate::store::{CommitGroup, Effect, SessionId, Unit, Verdict};

/// A group in the making.
pub(super) struct Round {
    pub(super) session: SessionId,
    pub(super) tenures: Vec<Arc<Tenure>>,
    /// Where each stands, by its address.
    places: Map<usize, usize>,
    /// The keys whose leases go back with this group.
    pub(super) sealed: Vec<bool>,
    pub(super) units: Vec<Unit>,
    /// Its only unit is a handler's own transaction.
    own: bool,
    pub(super) from: Vec<From>,
    /// Events of this group whose attempts or marks are written: their next verdict goes into the next
    /// group, so that no statement of a group touches a row twice.
    noted: Set<(usize, u64)>,
    pub(super) flushed: Vec<oneshot::Sender<()>>,
    /// The number of its oldest letter.
    pub(super) first: u64,
}

pub(super) struct From {
    pub(super) subscription: usize,
    pub(super) shard: usize,
    pub(super) run: Option<usize>,
}

impl Round {
    pub(super) fn new(env: &Env, session: SessionId) -> Self {
        Self {
            session,
            tenures: Vec::new(),
            places: env.map(),
            sealed: Vec::new(),
            units: Vec::new(),
            own: false,
            from: Vec::new(),
            noted: env.set(),
            flushed: Vec::new(),
            first: 0,
        }
    }

    /// Adds a letter, or gives it back when it has to wait for the next group.
    pub(super) fn add(&mut self, letter: Letter) -> Option<Letter> {
        match letter {
            // Also of one that was lost meanwhile: it ends with the answer.
            Letter::Hold(tenure) => drop(self.hold(&tenure)),
            Letter::Written(tenure, answer) => {
                if !tenure.is_lost() {
                    self.hold(&tenure);
                }
                self.flushed.push(answer);
            }
            Letter::Flush(answer) => self.flushed.push(answer),
            Letter::Pending(mut pending) => {
                // A handler's own transaction is a group by itself.
                let own = pending.unit.effects.first().is_some_and(Effect::is_own);
                if self.own || (own && !self.units.is_empty()) {
                    return Some(Letter::Pending(pending));
                }
                self.own = own;
                let mut claims = Vec::with_capacity(pending.tenures.len());
                for tenure in &pending.tenures {
                    claims.push(self.hold(tenure));
                }
                let noted = &self.noted;
                let events = pending.unit.events.iter().zip(&claims);
                if !noted.is_empty()
                    && events.clone().any(|(event, claim)| noted.contains(&(*claim, event.offset)))
                {
                    return Some(Letter::Pending(pending));
                }
                for (event, claim) in pending.unit.events.iter_mut().zip(claims) {
                    event.hold = claim;
                    if matches!(event.verdict, Verdict::Tried(_) | Verdict::Started(_)) {
                        self.noted.insert((claim, event.offset));
                    }
                }
                let subscription = pending.tenures[0].subscription;
                self.from.push(From { subscription, shard: pending.shard, run: pending.run });
                self.units.push(pending.unit);
            }
        }
        None
    }

    /// Whether the tenure is of the group by now.
    pub(super) fn holds(&self, tenure: &Arc<Tenure>) -> bool {
        self.places.contains_key(&address(tenure))
    }

    /// The tenure's place in the group.
    fn hold(&mut self, tenure: &Arc<Tenure>) -> usize {
        let next = self.tenures.len();
        let at = *self.places.entry(address(tenure)).or_insert(next);
        if at == next {
            self.tenures.push(tenure.clone());
        }
        at
    }

    /// How many events of each tenure end with these units.
    fn ending(&self, units: &[Unit]) -> Vec<usize> {
        let mut ending = vec![0; self.tenures.len()];
        for event in units.iter().flat_map(|unit| &unit.events) {
            ending[event.hold] += usize::from(matches!(event.verdict, Verdict::Finish | Verdict::Park(_)));
        }
        ending
    }

    /// Rule S7: a key of which nothing is open but what this group ends gives its lease back with it. From
    /// then on until the answer nothing joins it (rule S6).
    fn seal(&self, ending: &[usize]) -> Vec<bool> {
        let seal = |(tenure, ending): (&Arc<Tenure>, &usize)| {
            tenure.key().is_some_and(|of| !of.is_kept() && !of.is_over())
                && !mutant!("s7-lease-is-not-given-back")
                && !tenure.is_lost()
                && tenure.seal(*ending)
        };
        self.tenures.iter().zip(ending).map(seal).collect()
    }

    /// The group, its claims sorted (rule C7); afterwards `tenures` stand in the same order.
    pub(super) fn group(&mut self) -> CommitGroup {
        let mut order: Vec<usize> = (0..self.tenures.len()).collect();
        order.sort_unstable_by(|one, two| self.tenures[*one].by_hold(&self.tenures[*two]));
        if mutant!("c7-holds-unsorted") {
            order.reverse();
        }
        let mut place = vec![0; order.len()];
        for (now, before) in order.iter().enumerate() {
            place[*before] = now;
        }
        self.tenures = order.iter().map(|at| self.tenures[*at].clone()).collect();
        let mut units = std::mem::take(&mut self.units);
        for event in units.iter_mut().flat_map(|unit| unit.events.iter_mut()) {
            event.hold = place[event.hold];
        }
        let ending = self.ending(&units);
        self.sealed = self.seal(&ending);
        let holds = self.tenures.iter().zip(&self.sealed).zip(ending);
        let holds = holds.map(|((tenure, sealed), ending)| tenure.commit(*sealed, ending));
        CommitGroup { session: self.session, holds: holds.collect(), units }
    }
}
