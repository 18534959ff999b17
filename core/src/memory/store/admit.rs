//! Admission, and what is known of an id in ledger and parking table (rules A1, P1, L4).

use bytes::Bytes;

use super::state::State;
use crate::env::Timestamp;
use crate::error::Error;
use crate::event::PayloadHash;
use crate::store::{Admission, AdmitBatch, AdmitEvent, Admitted, LeaseKey, Scope};
use crate::text::Text;

impl State {
    pub(super) fn admit(&mut self, batch: &AdmitBatch, now: Timestamp) -> Result<Admitted, Error> {
        self.check_session(batch.session)?;
        // A1: leases first; what is read afterwards is as of then.
        let key = |key: &Bytes| LeaseKey { scope: batch.scope.clone(), key: key.clone() };
        let leases = batch.leases.iter().map(|at| self.take_lease(batch.session, &key(at), now)).collect();
        let events = batch.events.iter().map(|event| self.look_up(&batch.scope, event)).collect();
        Ok(Admitted { leases, events })
    }

    fn look_up(&self, scope: &Scope, event: &AdmitEvent) -> Admission {
        let known = match event.payload {
            Some(payload) => self.known(scope, &event.id, payload),
            None if self.parking.payloads(scope, &event.id).next().is_some() => Admission::Parked,
            None => Admission::Fresh,
        };
        if known != Admission::Fresh || !event.leased || self.tries.is_empty() {
            return known;
        }
        let tried = self.tries.get(&(scope.clone(), event.id.clone()));
        tried.map_or(known, |tried| Admission::Tried(Box::new(tried.row.clone())))
    }

    /// The same payload anywhere decides first: a conflict that was parked stands beside the row that it
    /// conflicts with, and each of the two is known as what it is.
    pub(super) fn known(&self, scope: &Scope, id: &Text, payload: PayloadHash) -> Admission {
        let finished = self.ledgers.get(scope).and_then(|ledger| ledger.payload(id));
        if finished == Some(payload) {
            return Admission::Finished;
        }
        if finished.is_some() && mutant!("l4-conflict-is-a-duplicate") {
            return Admission::Finished;
        }
        let mut conflict = finished.is_some();
        if self.parking.is_empty() || mutant!("p1-parked-is-not-looked-at") {
            return if conflict { Admission::Conflict } else { Admission::Fresh };
        }
        for parked in self.parking.payloads(scope, id) {
            if parked == payload {
                return Admission::Parked;
            }
            conflict = true;
        }
        if conflict { Admission::Conflict } else { Admission::Fresh }
    }
}
