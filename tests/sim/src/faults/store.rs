//! A store whose calls are late, refused, or lose their answer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::Partition;
use keylane::env::{Env, Instant, Timestamp};
use keylane::store::{
    AdmitBatch, Admitted, ClaimAnswer, ClaimRef, ClaimRequest, CommitGroup, Committed, DeadQuery, Fate, Hold,
    HoldCommit, LeaseAnswer, LeaseKey, LeaseRef, NewSession, OwnConnection, Parked, ParkedId, ReleaseAnswer,
    Renewed, Reposition, Scope, SessionId, Store,
};
use keylane::{Error, ErrorKind};

use super::{Calm, Link};

/// How a faulty store behaves. Chances are in thousandths.
#[derive(Debug, Clone, Copy, Default)]
pub struct StoreFaults {
    /// Every call takes up to this long before and after the work.
    pub latency_max: Duration,
    /// The call is not done, and says so.
    pub refused: u64,
    /// The call is done, and the answer is lost.
    pub answer_lost: u64,
    /// So many commits are taken at a time, where the store itself takes fewer: it writes one after the other, but delays
    /// and lost answers bring them into any order.
    pub commits_at_once: usize,
}

/// Who looks on, from where the worker stands and from where the store stands.
pub trait StoreEyes: Send + Sync + 'static {
    /// The worker got an answer that renews its session, to a call it began at this time of its two clocks.
    fn promised(&self, _sent: (Instant, Timestamp)) {}

    /// The worker was told that its session is gone.
    fn session_lost(&self) {}

    /// The worker calls the store.
    fn asked(&self, _what: &'static str) {}

    /// A call failed, or its answer was lost.
    fn refused(&self, _what: &'static str) {}

    /// The worker registers under this identity.
    fn registers(&self, _session: SessionId) {}

    /// The store answered this to who asked for leases, whether the worker hears of it or not.
    fn answered(&self, _session: SessionId, _leases: Vec<(LeaseKey, LeaseAnswer)>) {}

    /// This is durable now, whether the worker hears of it or not.
    fn durable(&self, _group: &CommitGroup, _fates: &[Fate]) {}
}

/// Nobody looks.
impl StoreEyes for () {}

/// A store whose calls are late, refused, or lose their answer.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    env: Env,
    faults: StoreFaults,
    link: Link,
    eyes: Arc<dyn StoreEyes>,
    calm: Calm,
}

impl FaultyStore {
    /// Decorates `inner` for one worker.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, env: Env, faults: StoreFaults) -> Self {
        Self { inner, env, faults, link: Link::default(), eyes: Arc::new(()), calm: Calm::default() }
    }

    /// Over a way that can be cut.
    #[must_use]
    pub fn over(self, link: Link) -> Self {
        Self { link, ..self }
    }

    /// Nothing goes wrong by chance once it is calm.
    #[must_use]
    pub fn calmed_by(self, calm: Calm) -> Self {
        Self { calm, ..self }
    }

    /// With someone who looks on.
    #[must_use]
    pub fn watched(self, eyes: Arc<dyn StoreEyes>) -> Self {
        Self { eyes, ..self }
    }

    fn hits(&self, thousandths: u64) -> bool {
        thousandths > 0 && !self.calm.is() && self.env.random() % 1000 < thousandths
    }

    async fn delay(&self) {
        let max = u64::try_from(self.faults.latency_max.as_micros()).unwrap_or(u64::MAX);
        if max > 0 {
            self.env.sleep(Duration::from_micros(self.env.random() % max)).await;
        }
    }

    /// Through all that may go wrong.
    async fn around<T>(
        &self,
        what: &'static str,
        kind: ErrorKind,
        call: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        self.eyes.asked(what);
        let answer = self.led_astray(kind, call).await;
        if answer.is_err() {
            self.eyes.refused(what);
        }
        answer
    }

    async fn led_astray<T>(
        &self,
        kind: ErrorKind,
        call: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        self.delay().await;
        let mute = self.link.is_mute(&self.env).await;
        if mute || self.link.is_cut(&self.env) || self.hits(self.faults.refused) {
            // Not for nothing: who asks again at once must be seen to.
            self.env.sleep(Duration::from_micros(200)).await;
            // The way may end under the question, too: then nobody knows, and nothing was done.
            let known = self.env.random().is_multiple_of(2);
            let kind = if known { ErrorKind::Store } else { kind };
            return Err(Error::new(kind, "simulated: the store is away"));
        }
        let answer = call.await;
        self.delay().await;
        self.link.be_slow(&self.env).await;
        if self.link.is_cut(&self.env) || self.hits(self.faults.answer_lost) {
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

    fn commits_at_once(&self) -> usize {
        self.inner.commits_at_once().max(self.faults.commits_at_once)
    }

    fn lease_key_max(&self) -> Option<usize> {
        self.inner.lease_key_max()
    }

    async fn register(&self, session: NewSession) -> Result<(), Error> {
        self.eyes.registers(session.id);
        let sent = (self.env.now(), self.env.wall());
        // A lost answer here would leave a session behind that nobody knows; it expires by itself.
        let answer = self.around("register", ErrorKind::Store, self.inner.register(session)).await;
        if answer.is_ok() {
            self.eyes.promised(sent);
        }
        answer
    }

    async fn renew(&self, session: SessionId, leased: &[Scope]) -> Result<Renewed, Error> {
        let sent = (self.env.now(), self.env.wall());
        let answer = self.around("renew", ErrorKind::Store, self.inner.renew(session, leased)).await;
        match &answer {
            Ok(_) => self.eyes.promised(sent),
            Err(error) if error.kind() == ErrorKind::SessionLost => self.eyes.session_lost(),
            Err(_) => {}
        }
        answer
    }

    async fn close_session(&self, session: SessionId) -> Result<(), Error> {
        self.around("close_session", ErrorKind::Store, self.inner.close_session(session)).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<ClaimAnswer, Error> {
        self.around("claim", ErrorKind::Store, self.inner.claim(request)).await
    }

    async fn release(&self, session: SessionId, claims: &[ClaimRef], clean: bool) -> Result<(), Error> {
        self.around("release", ErrorKind::Store, self.inner.release(session, claims, clean)).await
    }

    async fn admit(&self, batch: AdmitBatch) -> Result<Admitted, Error> {
        let sorted = batch.leases.is_sorted_by(|a, b| a < b);
        assert!(sorted, "rule C7: the leases of a batch are sorted, each once");
        let seen = async {
            let (session, scope, keys) = (batch.session, batch.scope.clone(), batch.leases.clone());
            let admitted = self.inner.admit(batch).await?;
            let keys = keys.into_iter().map(|key| LeaseKey { scope: scope.clone(), key });
            self.eyes.answered(session, keys.zip(admitted.leases.iter().copied()).collect());
            Ok(admitted)
        };
        self.around("admit", ErrorKind::Store, seen).await
    }

    async fn freed(&self, session: SessionId) -> Result<Vec<LeaseKey>, Error> {
        self.around("freed", ErrorKind::Store, self.inner.freed(session)).await
    }

    async fn leases(&self, session: SessionId) -> Result<Vec<LeaseRef>, Error> {
        self.around("leases", ErrorKind::Store, self.inner.leases(session)).await
    }

    async fn begin(&self, session: SessionId) -> Result<OwnConnection, Error> {
        self.around("begin", ErrorKind::Store, self.inner.begin(session)).await
    }

    async fn commit(&self, group: &CommitGroup) -> Result<Committed, Error> {
        let holds: Vec<Hold> = group.holds.iter().map(HoldCommit::hold).collect();
        let sorted = holds.is_sorted_by(|a, b| a < b);
        assert!(sorted, "rule C7: the claims and leases of a group are sorted, each once: {holds:?}");
        // A commit whose answer is lost is unknown, not failed.
        let seen = async {
            let committed = self.inner.commit(group).await?;
            self.eyes.durable(group, &committed.fates);
            Ok(committed)
        };
        self.around("commit", ErrorKind::Unknown, seen).await
    }

    async fn resolve(&self, group: &CommitGroup) -> Result<Vec<Fate>, Error> {
        self.around("resolve", ErrorKind::Unknown, self.inner.resolve(group)).await
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
