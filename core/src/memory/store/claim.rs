//! Claims: who may have a partition, and what a grant brings (rules S2, S5, A2).

use std::collections::BTreeSet;

use super::state::{ClaimRow, State};
use crate::broker::Partition;
use crate::env::Timestamp;
use crate::error::Error;
use crate::store::{Claim, ClaimAnswer, ClaimRef, ClaimRequest, Reposition, SessionId};

impl State {
    pub(super) fn claim(&mut self, request: &ClaimRequest, now: Timestamp) -> Result<ClaimAnswer, Error> {
        self.check_session(request.session)?;
        let place = (request.scope.clone(), request.partition);
        let mut row = self.claims.get(&place).cloned().unwrap_or_default();
        if let Some(owner) = row.owner {
            if owner != request.session
                && let Some(worker) = self.alive(owner, now)
            {
                // S5, first step: the owner hears of it; only past the limit it is taken.
                let since = *row.wanted_since.get_or_insert(now);
                if now.since(since) < request.handover_limit && !mutant!("s5-handover-at-once") {
                    self.claims.insert(place, row);
                    return Ok(ClaimAnswer::Wanted { owner: worker });
                }
            }
            // T1: also of one's own, which had begun what it did not release.
            row.unclean = true;
        }
        row.owner = Some(request.session);
        row.wanted_since = None;
        row.repositioned = false;
        // S2: from here on no commit of the owner before finds its epoch.
        row.epoch += u64::from(!mutant!("s2-epoch-not-raised"));
        self.claims.insert(place, row.clone());
        Ok(ClaimAnswer::Granted(Box::new(self.grant(request, row))))
    }

    /// The name of a live owner. A dead one's row is deleted here, which defeats all its commits (S1).
    pub(super) fn alive(&mut self, owner: SessionId, now: Timestamp) -> Option<String> {
        if mutant!("s7-the-dead-keep-their-leases") {
            return self.sessions.get(&owner).map(|session| session.worker.clone());
        }
        if self.sessions.get(&owner).is_some_and(|session| session.expires <= now) {
            if mutant!("s1-takeover-leaves-the-row") {
                return None;
            }
            self.sessions.remove(&owner);
            self.forget_waiting();
        }
        self.sessions.get(&owner).map(|session| session.worker.clone())
    }

    /// Reads what is known of the partition, after the epoch was raised (rule A2).
    fn grant(&mut self, request: &ClaimRequest, row: ClaimRow) -> Claim {
        let ClaimRequest { scope, partition, .. } = request;
        let base = row.position.as_ref().map_or(0, |position| position.base);
        let place = |at| (scope.clone(), *partition, at, at);
        let requested =
            || self.parking.requested().filter(|row| row.scope == *scope && row.partition == *partition);
        // A duplicate finishes its offset without a word on its attempts; they go here. Those of a released
        // dead letter stay: its offset was finished when it was parked.
        let released: BTreeSet<_> = requested().map(|row| (row.generation, row.offset)).collect();
        self.attempts.retain(|(of, at, generation, offset), _| {
            let open = *generation == row.generation && *offset >= base;
            (of, at) != (scope, partition) || open || released.contains(&(*generation, *offset))
        });
        let attempts = self.attempts.range(place(0)..=place(u64::MAX)).map(|(_, row)| row.clone());
        Claim {
            claim: ClaimRef { scope: scope.clone(), partition: *partition, epoch: row.epoch },
            read_from: row.read_from.filter(|_| row.position.is_none()),
            generation: row.generation,
            position: row.position,
            unclean: row.unclean,
            attempts: attempts.collect(),
            released: requested().cloned().collect(),
        }
    }

    pub(super) fn release(&mut self, session: SessionId, claims: &[ClaimRef], clean: bool) {
        // A session that was taken over gives nothing back: its end was not a clean one.
        if !self.sessions.contains_key(&session) {
            return;
        }
        for claim in claims {
            if self.is_owned(session, claim)
                && let Some(row) = self.claims.get_mut(&(claim.scope.clone(), claim.partition))
            {
                row.owner = None;
                row.unclean = !clean;
                row.wanted_since = None;
                row.repositioned = false;
            }
        }
    }

    /// L2: a new generation. Its owner, if there is one, stays, so that nobody else begins while
    /// something of it may run; the raised epoch excludes that from every commit.
    pub(super) fn reposition(&mut self, order: &Reposition) -> Vec<Partition> {
        let Reposition { scope, partition, to } = order;
        let meant = |at: Partition| partition.is_none_or(|only| only == at);
        let mut found = Vec::new();
        for ((_, at), row) in self.claims.iter_mut().filter(|((of, at), _)| of == scope && meant(*at)) {
            row.epoch += 1;
            row.generation += 1;
            row.position = None;
            row.read_from = Some(*to);
            row.repositioned = row.owner.is_some();
            found.push(*at);
        }
        self.attempts.retain(|(of, at, ..), _| of != scope || !meant(*at));
        found
    }
}
