//! Telling everyone what became of a group: keys that ended, positions that moved, and each run's fates.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Committer;
use super::round::Round;
use crate::runtime::shard::ToShard;
use crate::runtime::subscription::Control;
use crate::runtime::tenure::Tenure;
use crate::store::{ClaimRef, CommitGroup, Fate, LeaseRef};

/// What became of a group.
pub(super) struct Known {
    /// The store said so itself; else it was read afterwards (rule U1).
    pub(super) certain: bool,
    pub(super) fates: Vec<Fate>,
    /// The claims whose positions were written for sure.
    pub(super) written: Vec<usize>,
}

/// A run's number, and the fates of its events.
type Answer = (usize, Vec<Fate>);

impl Committer {
    /// Passes the fates on. `None`: the session is gone, and with it everything of this group.
    pub(super) fn tell(&self, group: &CommitGroup, round: &Round, known: Option<Known>) {
        let Known { certain, fates, written } = known.unwrap_or_else(|| {
            for tenure in &round.tenures {
                tenure.lose();
            }
            let fates = group.events().map(|_| Fate::Excluded).collect();
            Known { certain: true, fates, written: Vec::new() }
        });
        let mut is_written = vec![false; group.holds.len()];
        for at in written {
            if let Some(is_written) = is_written.get_mut(at) {
                *is_written = true;
            }
        }
        self.end_leases(group, round, &fates, |at| certain && is_written[at], certain);
        self.mark_finished(group, round, &fates, |at| is_written[at]);
        let mut fates = fates.into_iter();
        let mut answers: BTreeMap<(usize, usize), Vec<Answer>> = BTreeMap::new();
        for (unit, from) in group.units.iter().zip(&round.from) {
            let own: Vec<Fate> = fates.by_ref().take(unit.events.len()).collect();
            if let Some(run) = from.run {
                answers.entry((from.subscription, from.shard)).or_default().push((run, own));
            }
        }
        for ((subscription, shard), fates) in answers {
            if let Some(subscription) = self.subscription(subscription) {
                subscription.shards[shard].send(ToShard::Fates(fates));
            }
        }
    }

    fn mark_finished(
        &self,
        group: &CommitGroup,
        round: &Round,
        fates: &[Fate],
        held: impl Fn(usize) -> bool,
    ) {
        let positions = group.positions(fates, held);
        let mut offsets: Vec<Vec<u64>> = group.holds.iter().map(|_| Vec::new()).collect();
        for (event, fate) in group.events().zip(fates) {
            if event.marks_position(fate) {
                offsets[event.hold].push(event.offset);
            }
        }
        for (claim, _, position) in positions {
            let tenure = &round.tenures[claim];
            let of = tenure.claimed();
            of.committed(&position, &offsets[claim]);
            if let Some(subscription) = self.subscription(tenure.subscription) {
                subscription.moved.send(of.claim.partition);
            }
        }
    }

    /// What became of the keys whose leases were to go back; before their events' fates are told.
    fn end_leases(
        &self,
        group: &CommitGroup,
        round: &Round,
        fates: &[Fate],
        given_back: impl Fn(usize) -> bool,
        certain: bool,
    ) {
        let mut open = vec![false; round.tenures.len()];
        for (event, fate) in group.events().zip(fates) {
            open[event.hold] |= !event.is_over(fate) && *fate != Fate::Excluded;
        }
        for (at, tenure) in round.tenures.iter().enumerate() {
            if given_back(at) {
                self.key_over(tenure);
            } else if round.sealed[at] {
                let kept = (certain && open[at]) || (!certain && mutant!("s6-unknown-means-kept"));
                if kept && !tenure.is_lost() {
                    tenure.unseal();
                    if tenure.is_empty() {
                        // A try that was noted in the same group kept it, and nothing else will end here.
                        self.give_back(tenure);
                    } else if let Some(subscription) = self.subscription(tenure.subscription) {
                        subscription.key_kept(tenure);
                    }
                    continue;
                }
                // Gone, or nobody knows (rule S6): whatever is left of it is admitted anew.
                tenure.lose();
            }
            if tenure.is_lost() && tenure.is_empty() {
                self.key_over(tenure);
            }
        }
    }

    /// Nothing of the key is left here, nor in the store for us.
    fn key_over(&self, tenure: &Arc<Tenure>) {
        let Some(of) = tenure.key().filter(|of| !of.is_kept() && !of.is_over()) else { return };
        of.end();
        if let Some(subscription) = self.subscription(tenure.subscription) {
            subscription.key_over(tenure);
        }
    }

    /// Leases of this worker that others wait for (rule S9).
    pub(crate) fn report_contended(&self, contended: &[LeaseRef]) {
        if contended.is_empty() {
            return;
        }
        for subscription in self.subscriptions() {
            if subscription.leases.as_ref().is_some_and(|leases| leases.contended(contended)) {
                subscription.stir_shards();
            }
        }
    }

    pub(super) fn report_wanted(&self, wanted: Vec<ClaimRef>) {
        for claim in wanted {
            self.tell_owner(claim, Control::Wanted);
        }
    }

    /// Tells the subscription of a claim what happened to it.
    pub(crate) fn tell_owner(&self, claim: ClaimRef, news: fn(ClaimRef) -> Control) {
        for subscription in self.subscriptions() {
            if subscription.settings.scope == claim.scope {
                subscription.control.send(news(claim.clone()));
            }
        }
    }
}
