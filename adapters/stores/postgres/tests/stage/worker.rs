//! A worker on the stage with one claim, and groups of one event a write.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keylane::conformance::store::Harness;
use keylane::event::PayloadHash;
use keylane::store::{
    AdmitBatch, AdmitEvent, Admitted, Claim, ClaimAnswer, ClaimCommit, ClaimRequest, CommitEvent,
    CommitGroup, Effect, EffectFn, HoldCommit, LeaseAnswer, LeaseCommit, LeaseKey, LeaseRef, NewSession,
    Scope, SessionId, Store, Unit, Verdict,
};
use keylane::text::Text;
use keylane::watermark::Watermark;
use keylane_postgres::Postgres;

use super::Stage;

/// Longer than any test.
pub(crate) const LONG: Duration = Duration::from_secs(600);

pub(crate) struct Worker {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) session: SessionId,
}

pub(crate) fn scope() -> Scope {
    Scope { subscription: "s".into(), broker: "b".into(), source: "t".into() }
}

pub(crate) fn payload() -> PayloadHash {
    PayloadHash::of(b"payload")
}

impl Worker {
    pub(crate) async fn on(stage: &Stage, store: Arc<dyn Store>, lifetime: Duration) -> Self {
        let session = SessionId(stage.env.uuid());
        store.register(NewSession { id: session, worker: "a".to_owned(), lifetime }).await.unwrap();
        Self { store, session }
    }

    pub(crate) async fn new(stage: &Stage) -> Self {
        Self::on(stage, stage.open().await, LONG).await
    }

    pub(crate) async fn ask(&self, handover_limit: Duration) -> ClaimAnswer {
        let request = ClaimRequest { session: self.session, scope: scope(), partition: 0, handover_limit };
        self.store.claim(request).await.unwrap()
    }

    pub(crate) async fn claim(&self) -> Claim {
        match self.ask(LONG).await {
            ClaimAnswer::Granted(claim) => *claim,
            ClaimAnswer::Wanted { owner } => panic!("{owner} has it"),
        }
    }

    /// Of a claim whose partition nobody read yet: one event a write; ids and keys differ.
    pub(crate) fn group(&self, claim: &Claim, writes: Vec<Vec<Effect>>) -> CommitGroup {
        let mut watermark = Watermark::new(0, 64);
        let units = writes.into_iter().zip(0u64..).map(|(effects, offset)| {
            let _ = watermark.deliver(offset);
            Unit { events: vec![finish(offset, &format!("event-{offset}"))], effects }
        });
        let units = units.collect();
        let claim = claim.claim.clone();
        let claim = ClaimCommit { claim, watermark, witness: None, identity: None, partitions: 1 };
        CommitGroup { session: self.session, holds: vec![HoldCommit::Claim(Box::new(claim))], units }
    }

    /// One event of a leased key, which ends.
    pub(crate) fn ending(&self, lease: &LeaseRef, id: &str, effects: Vec<Effect>) -> CommitGroup {
        let holds = vec![HoldCommit::Lease(LeaseCommit { lease: lease.clone(), give_back: true, marks: 0 })];
        let units = vec![Unit { events: vec![finish(0, id)], effects }];
        CommitGroup { session: self.session, holds, units }
    }

    /// Asks for a key and what is known of an event of it.
    pub(crate) async fn admit(&self, key: &str, id: &str) -> Admitted {
        let event = AdmitEvent { id: Text::from(id), payload: Some(payload()), lease: Some(0), leased: true };
        let leases = vec![Bytes::copy_from_slice(key.as_bytes())];
        let batch = AdmitBatch { session: self.session, scope: scope(), leases, events: vec![event] };
        self.store.admit(batch).await.unwrap()
    }

    pub(crate) async fn lease(&self, key: &str) -> LeaseRef {
        match self.admit(key, "none").await.leases[..] {
            [LeaseAnswer::Granted { token, .. }] => {
                let lease = LeaseKey { scope: scope(), key: Bytes::copy_from_slice(key.as_bytes()) };
                LeaseRef { lease, token }
            }
            ref other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn finish(offset: u64, id: &str) -> CommitEvent {
    CommitEvent {
        hold: 0,
        offset,
        id: Text::from(id),
        key: Bytes::copy_from_slice(id.as_bytes()),
        ledger: Some(payload()),
        unpark: None,
        verdict: Verdict::Finish,
    }
}

/// An id that carries a time.
pub(crate) fn uuid_v7(stage: &Stage, days_ago: u64) -> String {
    let now = u64::try_from(stage.env.wall().as_micros() / 1000).unwrap();
    let bytes = stage.env.uuid().into_bytes();
    let random = std::array::from_fn(|at| bytes[at + 6]);
    uuid::Builder::from_unix_timestamp_millis(now - days_ago * 86_400_000, &random).into_uuid().to_string()
}

pub(crate) fn effect(write: EffectFn<Postgres>) -> Effect {
    Effect::new::<Postgres>(write)
}

pub(crate) fn insert(text: &'static str) -> Effect {
    effect(Arc::new(move |mut tx| {
        Box::pin(async move {
            Stage::insert(&mut tx, "rows", text).await?;
            tx.done()
        })
    }))
}
