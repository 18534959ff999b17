//! Decorators that make a store or a broker slow, lossy or away, by a seed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::Partition;
use keylane::env::Env;
use keylane::store::{
    Admission, AdmitBatch, ClaimAnswer, ClaimRef, ClaimRequest, CommitGroup, Committed, DeadQuery, Fate,
    NewSession, Parked, ParkedId, ReleaseAnswer, Renewed, Reposition, SessionId, Store,
};
use keylane::{Error, ErrorKind};

/// How a faulty store behaves. Chances are in thousandths.
#[derive(Debug, Clone, Copy, Default)]
pub struct StoreFaults {
    /// Every call takes up to this long before and after the work.
    pub latency_max: Duration,
    /// The call is not done, and says so.
    pub refused: u64,
    /// The call is done, and the answer is lost.
    pub answer_lost: u64,
}

/// A store whose calls are late, refused, or lose their answer.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    env: Env,
    faults: StoreFaults,
}

impl FaultyStore {
    /// Decorates `inner` for one worker.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, env: Env, faults: StoreFaults) -> Self {
        Self { inner, env, faults }
    }

    fn hits(&self, thousandths: u64) -> bool {
        thousandths > 0 && self.env.random() % 1000 < thousandths
    }

    async fn delay(&self) {
        let max = u64::try_from(self.faults.latency_max.as_micros()).unwrap_or(u64::MAX);
        if max > 0 {
            self.env.sleep(Duration::from_micros(self.env.random() % max)).await;
        }
    }

    async fn around<T>(
        &self,
        kind: ErrorKind,
        call: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        self.delay().await;
        if self.hits(self.faults.refused) {
            return Err(Error::new(ErrorKind::Store, "simulated: the store is away"));
        }
        let answer = call.await;
        self.delay().await;
        if self.hits(self.faults.answer_lost) {
            return Err(Error::new(kind, "simulated: the answer was lost"));
        }
        answer
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for FaultyStore {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn shared(&self) -> bool {
        self.inner.shared()
    }

    fn effect_limit(&self) -> Option<Duration> {
        self.inner.effect_limit()
    }

    async fn register(&self, session: NewSession) -> Result<(), Error> {
        // A lost answer here would leave a session behind that nobody knows; it expires by itself.
        self.around(ErrorKind::Store, self.inner.register(session)).await
    }

    async fn renew(&self, session: SessionId) -> Result<Renewed, Error> {
        self.around(ErrorKind::Store, self.inner.renew(session)).await
    }

    async fn close_session(&self, session: SessionId) -> Result<(), Error> {
        self.around(ErrorKind::Store, self.inner.close_session(session)).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<ClaimAnswer, Error> {
        self.around(ErrorKind::Store, self.inner.claim(request)).await
    }

    async fn release(&self, session: SessionId, claims: &[ClaimRef], clean: bool) -> Result<(), Error> {
        self.around(ErrorKind::Store, self.inner.release(session, claims, clean)).await
    }

    async fn admit(&self, batch: AdmitBatch) -> Result<Vec<Admission>, Error> {
        self.around(ErrorKind::Store, self.inner.admit(batch)).await
    }

    async fn commit(&self, group: &CommitGroup) -> Result<Committed, Error> {
        // A commit whose answer is lost is unknown, not failed.
        self.around(ErrorKind::Unknown, self.inner.commit(group)).await
    }

    async fn resolve(&self, group: &CommitGroup) -> Result<Vec<Fate>, Error> {
        self.around(ErrorKind::Unknown, self.inner.resolve(group)).await
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
