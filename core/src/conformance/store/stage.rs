//! What the checks play on: workers with sessions and claims, and groups written in a line.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::Harness;
use crate::conformance::{Gate, patience};
use crate::env::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::event::{PayloadHash, Record};
use crate::handler::Failure;
use crate::store::{
    Admission, AdmitBatch, AdmitEvent, AttemptRow, Claim, ClaimAnswer, ClaimCommit, ClaimRef, ClaimRequest,
    CommitEvent, CommitGroup, Committed, Death, Effect, EffectFn, Fate, NewSession, Parked, ParkedId, Reason,
    Scope, SessionId, Store, Unit, Verdict,
};
use crate::text::Text;
use crate::watermark::Watermark;

/// Longer than any check: a session or a handover limit that never runs out by itself.
pub(super) const LONG: Duration = Duration::from_secs(3600);

/// How long a check waits for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

const WINDOW: usize = 1024;

/// The subscription that most checks use.
pub(super) fn billing() -> Scope {
    scope("billing")
}

pub(super) fn scope(subscription: &str) -> Scope {
    Scope { subscription: subscription.into(), broker: "main".into(), source: "orders".into() }
}

/// The payload of an event in the checks is made from its id.
pub(super) fn payload(id: &str) -> PayloadHash {
    PayloadHash::of(format!("payload of {id}").as_bytes())
}

/// A worker with a session on a handle of its own.
pub(super) struct Worker {
    pub(super) store: Arc<dyn Store>,
    pub(super) session: SessionId,
    pub(super) name: &'static str,
}

/// A worker that outlives the check.
pub(super) async fn worker<H: Harness>(harness: &H, name: &'static str) -> Worker {
    worker_for(harness, name, LONG).await
}

/// A worker whose session lasts `lifetime` after each renewal.
pub(super) async fn worker_for<H: Harness>(harness: &H, name: &'static str, lifetime: Duration) -> Worker {
    let store = harness.open().await;
    let session = fresh_session(harness);
    let new = NewSession { id: session, worker: name.to_owned(), lifetime };
    store.register(new).await.expect("a new session is registered");
    Worker { store, session, name }
}

/// From the environment, so that a check with a seeded one is the same twice.
pub(super) fn fresh_session<H: Harness>(harness: &H) -> SessionId {
    SessionId(harness.env().uuid())
}

impl Worker {
    pub(super) async fn ask(
        &self,
        scope: Scope,
        partition: u32,
        limit: Duration,
    ) -> Result<ClaimAnswer, Error> {
        let request = ClaimRequest { session: self.session, scope, partition, handover_limit: limit };
        self.store.claim(request).await
    }

    /// A claim that is free.
    pub(super) async fn claim(&self, partition: u32) -> Claim {
        match self.ask(billing(), partition, LONG).await.expect("a claim is answered") {
            ClaimAnswer::Granted(claim) => *claim,
            ClaimAnswer::Wanted { owner } => panic!("a free partition is said to be with {owner}"),
        }
    }

    /// A claim that somebody alive holds: the owner's name.
    pub(super) async fn wants(&self, partition: u32) -> String {
        match self.ask(billing(), partition, LONG).await.expect("a claim is answered") {
            ClaimAnswer::Granted(_) => panic!("a partition was granted that a live session holds"),
            ClaimAnswer::Wanted { owner } => owner,
        }
    }

    /// Asks until the claim is granted. A store that is busy for the moment is asked again.
    pub(super) async fn claim_in_time<H: Harness>(
        &self,
        harness: &H,
        partition: u32,
        limit: Duration,
    ) -> Claim {
        let what = "the claim is granted";
        patience::until(&harness.env(), what, PATIENCE, async || {
            match self.ask(billing(), partition, limit).await {
                Ok(ClaimAnswer::Granted(claim)) => Some(*claim),
                Ok(ClaimAnswer::Wanted { .. }) => None,
                Err(error) if error.is_transient() => None,
                Err(error) => panic!("{error:?}"),
            }
        })
        .await
    }

    pub(super) async fn release(&self, claim: &Claim, clean: bool) {
        let claims = [claim.claim.clone()];
        self.store.release(self.session, &claims, clean).await.expect("a release is taken");
    }

    pub(super) async fn admit(&self, claim: &Claim, events: &[(&str, PayloadHash)]) -> Vec<Admission> {
        let events = events.iter().map(|(id, payload)| AdmitEvent {
            claim: 0,
            id: Text::from(*id),
            payload: *payload,
        });
        let batch =
            AdmitBatch { session: self.session, claims: vec![claim.claim.clone()], events: events.collect() };
        self.store.admit(batch).await.expect("a live session admits")
    }

    /// Commits, and expects an answer.
    pub(super) async fn commit(&self, group: Group) -> Committed {
        self.store.commit(&group.build(self.session)).await.expect("a live session commits")
    }

    pub(super) async fn fates(&self, group: Group) -> Vec<Fate> {
        self.commit(group).await.fates
    }

    /// Commits, and expects that the session is gone.
    pub(super) async fn is_lost(&self, group: Group) {
        let answer = self.store.commit(&group.build(self.session)).await;
        assert_lost(answer.map(|committed| committed.fates), "commit");
    }
}

/// The answer must be that the session is lost.
pub(super) fn assert_lost<T: std::fmt::Debug>(answer: Result<T, Error>, what: &str) {
    match answer {
        Err(error) => assert_eq!(error.kind(), ErrorKind::SessionLost, "{what}: {error}"),
        Ok(value) => panic!("{what} of a session that is gone: {value:?}"),
    }
}

/// A commit group in the making. Each claim's watermark has its group's offsets delivered.
#[derive(Default)]
pub(super) struct Group {
    claims: Vec<(ClaimRef, Watermark)>,
    units: Vec<Unit>,
    pub(super) identity: Option<Text>,
    pub(super) witness: Option<crate::store::Witness>,
}

/// The partitions that every source in the checks has.
pub(super) const PARTITIONS: u32 = 4;

impl Group {
    /// A group over one claim, read on from its position.
    pub(super) fn of(claim: &Claim) -> Self {
        Self::default().and(claim)
    }

    /// One more claim; its events are those added until the next one.
    pub(super) fn and(self, claim: &Claim) -> Self {
        let watermark = match &claim.position {
            Some(at) => {
                Watermark::restore(at.base, &at.sparse, WINDOW).expect("a stored position can be read")
            }
            None => Watermark::new(0, WINDOW),
        };
        self.with_watermark(claim, watermark)
    }

    pub(super) fn with_watermark(mut self, claim: &Claim, watermark: Watermark) -> Self {
        self.claims.push((claim.claim.clone(), watermark));
        self
    }

    /// A unit of one event.
    pub(super) fn event(self, event: CommitEvent) -> Self {
        self.unit(vec![event], Vec::new())
    }

    /// A unit of one event with writes.
    pub(super) fn with(self, event: CommitEvent, effects: Vec<Effect>) -> Self {
        self.unit(vec![event], effects)
    }

    pub(super) fn unit(mut self, mut events: Vec<CommitEvent>, effects: Vec<Effect>) -> Self {
        let at = self.claims.len() - 1;
        for event in &mut events {
            event.claim = at;
            if event.unpark.is_none() {
                // In order of delivery here; an offset that is finished already is nothing new to it.
                let _ = self.claims[at].1.deliver(event.offset);
            }
        }
        self.units.push(Unit { events, effects });
        self
    }

    pub(super) fn build(self, session: SessionId) -> CommitGroup {
        let (identity, witness) = (self.identity, self.witness);
        let claims = self.claims.into_iter().map(|(claim, watermark)| ClaimCommit {
            claim,
            watermark,
            witness,
            identity: identity.clone(),
            partitions: PARTITIONS,
        });
        CommitGroup { session, claims: claims.collect(), units: self.units }
    }
}

/// An event that finished, its key the same as its id.
pub(super) fn finish(offset: u64, id: &str) -> CommitEvent {
    CommitEvent {
        claim: 0,
        offset,
        id: Text::from(id),
        key: Bytes::copy_from_slice(id.as_bytes()),
        ledger: Some(payload(id)),
        unpark: None,
        verdict: Verdict::Finish,
    }
}

pub(super) fn keyed(offset: u64, id: &str, key: &'static str) -> CommitEvent {
    CommitEvent { key: Bytes::from_static(key.as_bytes()), ..finish(offset, id) }
}

pub(super) fn with_payload(event: CommitEvent, payload: &str) -> CommitEvent {
    CommitEvent { ledger: Some(PayloadHash::of(payload.as_bytes())), ..event }
}

/// An event whose ledger is its position.
pub(super) fn by_position(offset: u64) -> CommitEvent {
    CommitEvent { ledger: None, ..finish(offset, &format!("orders/0/{offset}")) }
}

pub(super) fn tried(offset: u64, id: &str, attempts: u32) -> CommitEvent {
    CommitEvent { verdict: Verdict::Tried(attempt_row(offset, id, attempts)), ..finish(offset, id) }
}

pub(super) fn attempt_row(offset: u64, id: &str, attempts: u32) -> AttemptRow {
    AttemptRow {
        offset,
        id: Text::from(id),
        attempts,
        crashes: 0,
        started_by: None,
        first_at: Timestamp::from_millis(1_700_000_000_123),
        failure: format!("try {attempts} of {id}"),
    }
}

pub(super) fn park(parked: Parked) -> CommitEvent {
    CommitEvent {
        key: parked.key.clone(),
        ledger: Some(parked.payload),
        verdict: Verdict::Park(Box::new(parked.clone())),
        ..finish(parked.offset, &parked.id)
    }
}

/// The run of a released dead letter.
pub(super) fn unpark(event: CommitEvent, row: ParkedId) -> CommitEvent {
    CommitEvent { unpark: Some(row), ..event }
}

/// A dead letter with something to lose in every field.
pub(super) fn dead(partition: u32, offset: u64, id: &str) -> Parked {
    Parked {
        scope: billing(),
        partition,
        offset,
        id: Text::from(id),
        key: Bytes::copy_from_slice(id.as_bytes()),
        kind: Text::from_static("order.paid"),
        sequence: Some(7),
        record: record(id),
        payload: payload(id),
        reason: Reason::Dead(Death::Exhausted),
        attempts: 8,
        crashes: 1,
        failures: vec!["no receipt".to_owned(), "connection refused".to_owned()],
        first_at: Timestamp::from_millis(1_700_000_000_001),
        parked_at: Timestamp::from_millis(1_700_000_000_000 + i64::try_from(offset).unwrap_or(0)),
        worker: "a".to_owned(),
    }
}

fn record(id: &str) -> Record {
    let mut record = Record::new(format!("payload of {id}")).with_key(vec![0, 255, 10]);
    for value in ["first", "second", ""] {
        record = record.with_header("repeated", value);
    }
    record.time = Some(Timestamp::from_millis(1_699_999_999_999));
    record.id = Some(Text::from("broker-id"));
    record
}

/// A write of a row.
pub(super) fn insert<H: Harness>(name: &'static str, text: &str) -> Effect {
    let text = text.to_owned();
    effect::<H>(Arc::new(move |mut tx| {
        let text = text.clone();
        Box::pin(async move {
            H::insert(&mut tx, name, &text).await?;
            tx.done()
        })
    }))
}

/// A write of a row that waits in the transaction before it ends.
pub(super) fn insert_at<H: Harness>(name: &'static str, text: &'static str, gate: &Gate) -> Effect {
    let gate = gate.clone();
    effect::<H>(Arc::new(move |mut tx| {
        let gate = gate.clone();
        Box::pin(async move {
            H::insert(&mut tx, name, text).await?;
            gate.pass().await;
            tx.done()
        })
    }))
}

/// A write of a row that then fails.
pub(super) fn insert_and_fail<H: Harness>(name: &'static str, failure: Failure) -> Effect {
    effect::<H>(Arc::new(move |mut tx| {
        let failure = failure.clone();
        Box::pin(async move {
            H::insert(&mut tx, name, "never to be seen").await?;
            Err(failure)
        })
    }))
}

/// A write of a row that then panics.
pub(super) fn insert_and_panic<H: Harness>(name: &'static str) -> Effect {
    effect::<H>(Arc::new(move |mut tx| {
        Box::pin(async move {
            H::insert(&mut tx, name, "never to be seen").await?;
            panic!("a write that panics, as the check wants it")
        })
    }))
}

/// A write of a row that only the commit refuses.
pub(super) fn insert_and_refuse<H: Harness>(name: &'static str) -> Effect {
    effect::<H>(Arc::new(move |mut tx| {
        Box::pin(async move {
            H::insert(&mut tx, name, "never to be seen").await?;
            H::refuse_at_commit(&mut tx).await?;
            tx.done()
        })
    }))
}

fn effect<H: Harness>(run: EffectFn<H::Adapter>) -> Effect {
    Effect::new::<H::Adapter>(run)
}

/// A UUIDv7 that says it is from `millis` after 1970.
pub(super) fn uuid_of(millis: u64) -> String {
    let id: Uuid = uuid::Builder::from_unix_timestamp_millis(millis, &[7; 10]).into_uuid();
    id.to_string()
}
