//! What the checks play on: workers with sessions, claims and leases, and groups written in a line.

use std::sync::Arc;
use std::time::Duration;

use super::Harness;
use crate::conformance::patience;
use crate::error::{Error, ErrorKind};
use crate::event::PayloadHash;
use crate::store::{
    Admission, AdmitBatch, AdmitEvent, Claim, ClaimAnswer, ClaimCommit, ClaimRef, ClaimRequest, CommitEvent,
    CommitGroup, Committed, Effect, Fate, HoldCommit, LeaseCommit, LeaseRef, NewSession, Scope, SessionId,
    Store, Unit,
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
            id: Text::from(*id),
            payload: Some(*payload),
            lease: None,
            leased: false,
        });
        let scope = claim.claim.scope.clone();
        let batch = AdmitBatch { session: self.session, scope, leases: Vec::new(), events: events.collect() };
        self.store.admit(batch).await.expect("a live session admits").events
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

enum Holding {
    Claim(ClaimRef, Watermark),
    Lease(LeaseCommit),
}

/// A commit group in the making. Each claim's watermark has its group's offsets delivered.
#[derive(Default)]
pub(super) struct Group {
    holds: Vec<Holding>,
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
        self.holds.push(Holding::Claim(claim.claim.clone(), watermark));
        self
    }

    /// A group over one lease, which is kept.
    pub(super) fn under(lease: &LeaseRef) -> Self {
        Self::default().and_lease(lease, false)
    }

    /// A group over one lease, which is given back.
    pub(super) fn ending(lease: &LeaseRef) -> Self {
        Self::default().and_lease(lease, true)
    }

    /// One more lease, of a greater key; its events are those added until the next one.
    pub(super) fn and_lease(mut self, lease: &LeaseRef, give_back: bool) -> Self {
        self.holds.push(Holding::Lease(LeaseCommit { lease: lease.clone(), give_back, marks: 0 }));
        self
    }

    /// A group over one lease, which is given back with marks left to be made.
    pub(super) fn ending_with(lease: &LeaseRef, marks: u32) -> Self {
        let lease = LeaseCommit { lease: lease.clone(), give_back: true, marks };
        Self { holds: vec![Holding::Lease(lease)], ..Self::default() }
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
        let at = self.holds.len() - 1;
        for event in &mut events {
            event.hold = at;
            if event.unpark.is_none()
                && let Holding::Claim(_, watermark) = &mut self.holds[at]
            {
                // In order of delivery here; an offset that is finished already is nothing new to it.
                let _ = watermark.deliver(event.offset);
            }
        }
        self.units.push(Unit { events, effects });
        self
    }

    pub(super) fn build(self, session: SessionId) -> CommitGroup {
        let (identity, witness) = (self.identity, self.witness);
        let holds = self.holds.into_iter().map(|holding| match holding {
            Holding::Claim(claim, watermark) => {
                let identity = identity.clone();
                let claim = ClaimCommit { claim, watermark, witness, identity, partitions: PARTITIONS };
                HoldCommit::Claim(Box::new(claim))
            }
            Holding::Lease(lease) => HoldCommit::Lease(lease),
        });
        CommitGroup { session, holds: holds.collect(), units: self.units }
    }
}
