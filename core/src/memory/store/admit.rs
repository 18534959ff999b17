//! Admission, and what is known of an id in ledger and parking table (rules A1, P1, L4).

use super::state::State;
use crate::error::Error;
use crate::event::PayloadHash;
use crate::store::{Admission, AdmitBatch, Scope};
use crate::text::Text;

impl State {
    pub(super) fn admit(&self, batch: &AdmitBatch) -> Result<Vec<Admission>, Error> {
        self.check_session(batch.session)?;
        let known = batch.events.iter().map(|event| {
            let scope = &batch.claims[event.claim].scope;
            self.known(scope, &event.id, event.payload)
        });
        Ok(known.collect())
    }

    /// The same payload anywhere decides first: a conflict that was parked stands beside the row that it
    /// conflicts with, and each of the two is known as what it is.
    pub(super) fn known(&self, scope: &Scope, id: &Text, payload: PayloadHash) -> Admission {
        let finished = self.ledgers.get(scope).and_then(|ledger| ledger.payload(id));
        if finished == Some(payload) {
            return Admission::Finished;
        }
        let mut conflict = finished.is_some();
        if self.parking.is_empty() {
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
