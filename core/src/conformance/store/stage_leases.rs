//! What workers of the checks do with leases.

use bytes::Bytes;

use super::Harness;
use super::events::payload;
use super::stage::{PATIENCE, Worker, billing};
use crate::conformance::patience;
use crate::error::Error;
use crate::store::{
    Admission, AdmitBatch, AdmitEvent, Admitted, LeaseAnswer, LeaseKey, LeaseRef, Renewed, Scope,
};
use crate::text::Text;

pub(super) fn lease_key(scope: Scope, key: &str) -> LeaseKey {
    LeaseKey { scope, key: Bytes::copy_from_slice(key.as_bytes()) }
}

/// A leased event, its key asked for in the same batch or, with `None`, held already.
pub(super) fn leased(id: &str, lease: Option<usize>) -> AdmitEvent {
    AdmitEvent { id: Text::from(id), payload: Some(payload(id)), lease, leased: true }
}

/// The same in a subscription that keeps no ledger.
pub(super) fn unledgered(id: &str) -> AdmitEvent {
    AdmitEvent { payload: None, ..leased(id, None) }
}

impl Worker {
    pub(super) async fn try_admit(
        &self,
        scope: Scope,
        keys: &[&str],
        events: Vec<AdmitEvent>,
    ) -> Result<Admitted, Error> {
        let leases = keys.iter().map(|key| Bytes::copy_from_slice(key.as_bytes())).collect();
        self.store.admit(AdmitBatch { session: self.session, scope, leases, events }).await
    }

    /// Asks for leases and of events; the keys are sorted.
    pub(super) async fn admit_with(&self, keys: &[&str], events: Vec<AdmitEvent>) -> Admitted {
        let admitted = self.try_admit(billing(), keys, events).await.expect("a live session admits");
        assert_eq!(admitted.leases.len(), keys.len(), "an answer for each lease");
        admitted
    }

    pub(super) async fn ask_lease(&self, scope: Scope, key: &str) -> LeaseAnswer {
        let admitted = self.try_admit(scope, &[key], Vec::new()).await;
        admitted.expect("a live session admits").leases[0]
    }

    /// A lease that is free, with whether the end before was unclean.
    pub(super) async fn lease_after(&self, key: &str) -> (LeaseRef, bool) {
        let (lease, marks) = self.lease_with_marks(key).await;
        (lease, marks > 0)
    }

    /// A lease that is free, with the marks that are to be made.
    pub(super) async fn lease_with_marks(&self, key: &str) -> (LeaseRef, u32) {
        match self.ask_lease(billing(), key).await {
            LeaseAnswer::Granted { token, marks } => {
                (LeaseRef { lease: lease_key(billing(), key), token }, marks)
            }
            LeaseAnswer::Taken => panic!("{}: the free lease of {key} is said to be taken", self.name),
        }
    }

    /// A lease that is free, and was never had or was given back.
    pub(super) async fn lease(&self, key: &str) -> LeaseRef {
        let (lease, unclean) = self.lease_after(key).await;
        assert!(!unclean, "{}: nobody left the lease of {key} uncleanly", self.name);
        lease
    }

    /// A lease that somebody else has, or is kept for: this worker waits for it from now on.
    pub(super) async fn waits_for(&self, key: &str) {
        let answer = self.ask_lease(billing(), key).await;
        assert_eq!(answer, LeaseAnswer::Taken, "{}: the lease of {key}", self.name);
    }

    /// Asks until the lease is granted. A store that is busy for the moment is asked again.
    pub(super) async fn lease_in_time<H: Harness>(&self, harness: &H, key: &str) -> (LeaseRef, bool) {
        let what = "the lease is granted";
        patience::until(&harness.env(), what, PATIENCE, async || {
            let answer = match self.try_admit(billing(), &[key], Vec::new()).await {
                Ok(admitted) => admitted.leases[0],
                Err(error) if error.is_transient() => return None,
                Err(error) => panic!("{error:?}"),
            };
            match answer {
                LeaseAnswer::Granted { token, marks } => {
                    assert!(marks == 0 || marks == u32::MAX, "as many as may be in flight: {marks}");
                    Some((LeaseRef { lease: lease_key(billing(), key), token }, marks > 0))
                }
                LeaseAnswer::Taken => None,
            }
        })
        .await
    }

    /// Waits until something that this worker waits for is told to be free.
    pub(super) async fn is_told<H: Harness>(&self, harness: &H) -> Vec<LeaseKey> {
        patience::until(&harness.env(), "a lease is told to be free", PATIENCE, async || {
            let told = self.store.freed(self.session).await.expect("a worker is told of leases");
            (!told.is_empty()).then_some(told)
        })
        .await
    }

    /// What is known of leased events whose keys this worker holds.
    pub(super) async fn knows(&self, events: Vec<AdmitEvent>) -> Vec<Admission> {
        self.admit_with(&[], events).await.events
    }

    pub(super) async fn renewed(&self, leased: &[Scope]) -> Renewed {
        self.store.renew(self.session, leased).await.expect("a live session is renewed")
    }

    /// The leases that it holds, sorted.
    pub(super) async fn leases(&self) -> Vec<LeaseRef> {
        let mut leases = self.store.leases(self.session).await.expect("leases are listed");
        leases.sort();
        leases
    }

    pub(super) async fn close(&self) {
        self.store.close_session(self.session).await.expect("a session is closed");
    }
}
