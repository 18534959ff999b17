//! A store that tells the meter what it has committed: the end of an event's cycle.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keylane::Error;
use keylane::broker::Partition;
use keylane::store::{
    AdmitBatch, Admitted, ClaimAnswer, ClaimRef, ClaimRequest, CommitEvent, CommitGroup, Committed,
    DeadQuery, Fate, LeaseKey, LeaseRef, NewSession, OwnConnection, Parked, ParkedId, ReleaseAnswer, Renewed,
    Reposition, Scope, SessionId, Store, Verdict,
};

use crate::meter::METER;

/// For `Runtime::store_layer`.
pub(crate) fn watch(store: Arc<dyn Store>) -> Arc<dyn Store> {
    watch_with(store, |finished| METER.note_all(finished))
}

/// The same with something else to be told how many events a commit has finished.
pub(crate) fn watch_with(store: Arc<dyn Store>, tell: fn(u64)) -> Arc<dyn Store> {
    Arc::new(Watched { store, tell })
}

struct Watched {
    store: Arc<dyn Store>,
    tell: fn(u64),
}

#[async_trait]
impl Store for Watched {
    async fn commit(&self, group: &CommitGroup) -> Result<Committed, Error> {
        let committed = self.store.commit(group).await?;
        // A try or a mark is written as well, and ends nothing.
        let ends = |event: &CommitEvent| matches!(event.verdict, Verdict::Finish | Verdict::Park(_));
        let told = group.events().zip(&committed.fates);
        let finished = told.filter(|(event, fate)| ends(event) && fate.is_committed()).count();
        if finished > 0 {
            (self.tell)(finished as u64);
        }
        Ok(committed)
    }

    fn kind(&self) -> &'static str {
        self.store.kind()
    }

    fn shared(&self) -> bool {
        self.store.shared()
    }

    fn effect_limit(&self) -> Option<Duration> {
        self.store.effect_limit()
    }

    fn commits_at_once(&self) -> usize {
        self.store.commits_at_once()
    }

    fn lease_key_max(&self) -> Option<usize> {
        self.store.lease_key_max()
    }

    async fn register(&self, session: NewSession) -> Result<(), Error> {
        self.store.register(session).await
    }

    async fn renew(&self, session: SessionId, leased: &[Scope]) -> Result<Renewed, Error> {
        self.store.renew(session, leased).await
    }

    async fn close_session(&self, session: SessionId) -> Result<(), Error> {
        self.store.close_session(session).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<ClaimAnswer, Error> {
        self.store.claim(request).await
    }

    async fn release(&self, session: SessionId, claims: &[ClaimRef], clean: bool) -> Result<(), Error> {
        self.store.release(session, claims, clean).await
    }

    async fn admit(&self, batch: AdmitBatch) -> Result<Admitted, Error> {
        self.store.admit(batch).await
    }

    async fn freed(&self, session: SessionId) -> Result<Vec<LeaseKey>, Error> {
        self.store.freed(session).await
    }

    async fn leases(&self, session: SessionId) -> Result<Vec<LeaseRef>, Error> {
        self.store.leases(session).await
    }

    async fn begin(&self, session: SessionId) -> Result<OwnConnection, Error> {
        self.store.begin(session).await
    }

    async fn resolve(&self, group: &CommitGroup) -> Result<Vec<Fate>, Error> {
        self.store.resolve(group).await
    }

    async fn dead_letters(&self, query: DeadQuery) -> Result<Vec<Parked>, Error> {
        self.store.dead_letters(query).await
    }

    async fn request_release(&self, id: ParkedId) -> Result<ReleaseAnswer, Error> {
        self.store.request_release(id).await
    }

    async fn reposition(&self, order: Reposition) -> Result<Vec<Partition>, Error> {
        self.store.reposition(order).await
    }

    async fn sweep(&self, subscription: &str, keep: Duration) -> Result<u64, Error> {
        self.store.sweep(subscription, keep).await
    }
}
