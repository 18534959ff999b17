//! After a lost answer: what of the group is durable (rule U1). The lock waited out the commit.

use super::state::State;
use crate::error::Error;
use crate::store::{Admission, CommitEvent, CommitGroup, Fate, Hold, Verdict};

impl State {
    pub(super) fn resolve(&self, group: &CommitGroup) -> Result<Vec<Fate>, Error> {
        self.check_session(group.session)?;
        let fates = group.events().map(|event| {
            let hold = group.holds[event.hold].hold();
            match self.durable(&hold, event) {
                Some(fate) => fate,
                None if self.holds(group.session, &hold) => Fate::Behind,
                None => Fate::Excluded,
            }
        });
        Ok(fates.collect())
    }

    /// What the tables say of an event; `None`: nothing of it is there.
    fn durable(&self, hold: &Hold, event: &CommitEvent) -> Option<Fate> {
        match &event.verdict {
            Verdict::Tried(row) | Verdict::Started(row) => {
                let kept = match hold {
                    Hold::Claim(claim) => {
                        let place = (claim.scope.clone(), claim.partition, row.generation, row.offset);
                        self.attempts.get(&place)
                    }
                    Hold::Lease(lease) => {
                        let tried = self.tries.get(&(lease.lease.scope.clone(), row.id.clone()));
                        tried.map(|tried| &tried.row)
                    }
                };
                (kept == Some(row)).then_some(Fate::Committed)
            }
            Verdict::Park(parked) => match self.parking.at(&parked.parked_id()) {
                Some(row) if *row == **parked => Some(Fate::Committed),
                Some(_) if event.unpark.is_some() => None,
                Some(_) => Some(Fate::Duplicate),
                None if event.unpark.is_some() => Some(Fate::Duplicate),
                None => self.elsewhere(hold, event),
            },
            Verdict::Finish => match &event.unpark {
                Some(row) => self.parking.at(row).is_none().then_some(Fate::Committed),
                None => self.elsewhere(hold, event),
            },
        }
    }

    /// By ledger or position. A finish that is there may be another's; it is durable all the same.
    fn elsewhere(&self, hold: &Hold, event: &CommitEvent) -> Option<Fate> {
        let finishes = matches!(event.verdict, Verdict::Finish);
        let Some(payload) = event.ledger else {
            let passed = hold.claim().and_then(|claim| self.passed(claim));
            let passed = passed.is_some_and(|passed| passed.is_finished(event.offset));
            return passed.then_some(Fate::Committed);
        };
        match self.known(hold.scope(), &event.id, payload) {
            Admission::Fresh | Admission::Tried(_) => None,
            Admission::Finished if finishes => Some(Fate::Committed),
            Admission::Finished | Admission::Parked => Some(Fate::Duplicate),
            Admission::Conflict => (finishes || !event.is_conflict_letter()).then_some(Fate::Conflict),
        }
    }
}
