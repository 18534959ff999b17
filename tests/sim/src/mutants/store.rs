//! A store that breaks rule A1: what it says of a batch's events is from before their leases were won.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::Partition;
use keylane::store::{
    AdmitBatch, Admitted, ClaimAnswer, ClaimRef, ClaimRequest, CommitGroup, Committed, DeadQuery, Fate,
    LeaseKey, LeaseRef, NewSession, OwnConnection, Parked, ParkedId, ReleaseAnswer, Renewed, Reposition,
    Scope, SessionId, Store,
};
use keylane::{Env, Error};

pub(super) struct StaleStore {
    pub(super) inner: Arc<dyn Store>,
    pub(super) env: Env,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for StaleStore {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn shared(&self) -> bool {
        self.inner.shared()
    }

    fn effect_limit(&self) -> Option<Duration> {
        self.inner.effect_limit()
    }

    fn commits_at_once(&self) -> usize {
        self.inner.commits_at_once()
    }

    fn lease_key_max(&self) -> Option<usize> {
        self.inner.lease_key_max()
    }

    async fn register(&self, session: NewSession) -> Result<(), Error> {
        self.inner.register(session).await
    }

    async fn renew(&self, session: SessionId, leased: &[Scope]) -> Result<Renewed, Error> {
        self.inner.renew(session, leased).await
    }

    async fn close_session(&self, session: SessionId) -> Result<(), Error> {
        self.inner.close_session(session).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<ClaimAnswer, Error> {
        self.inner.claim(request).await
    }

    async fn release(&self, session: SessionId, claims: &[ClaimRef], clean: bool) -> Result<(), Error> {
        self.inner.release(session, claims, clean).await
    }

    async fn admit(&self, batch: AdmitBatch) -> Result<Admitted, Error> {
        let read = self.inner.admit(AdmitBatch { leases: Vec::new(), ..batch.clone() }).await?;
        self.env.sleep(Duration::from_micros(self.env.random() % 50_000)).await;
        let won = self.inner.admit(batch).await?;
        Ok(Admitted { leases: won.leases, events: read.events })
    }

    async fn freed(&self, session: SessionId) -> Result<Vec<LeaseKey>, Error> {
        self.inner.freed(session).await
    }

    async fn leases(&self, session: SessionId) -> Result<Vec<LeaseRef>, Error> {
        self.inner.leases(session).await
    }

    async fn begin(&self, session: SessionId) -> Result<OwnConnection, Error> {
        self.inner.begin(session).await
    }

    async fn commit(&self, group: &CommitGroup) -> Result<Committed, Error> {
        self.inner.commit(group).await
    }

    async fn resolve(&self, group: &CommitGroup) -> Result<Vec<Fate>, Error> {
        self.inner.resolve(group).await
    }

    async fn dead_letters(&self, query: DeadQuery) -> Result<Vec<Parked>, Error> {
        self.inner.dead_letters(query).await
    }

    async fn request_release(&self, id: ParkedId) -> Result<ReleaseAnswer, Error> {
        self.inner.request_release(id).await
    }

    async fn reposition(&self, order: Reposition) -> Result<Vec<Partition>, Error> {
        self.inner.reposition(order).await
    }

    async fn sweep(&self, subscription: &str, keep: Duration) -> Result<u64, Error> {
        self.inner.sweep(subscription, keep).await
    }
}
