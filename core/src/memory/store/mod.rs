//! The memory store: every rule of a real one, on maps behind one asynchronous mutex.
//!
//! A transaction is a [`MemoryTx`]: it owns the lock, writes in place and keeps a journal to undo. However
//! it ends, by an error, a panic or because its commit was dropped, what it did not harden is undone
//! before the lock is free again.

mod admit;
mod claim;
mod commit;
mod lease;
mod ledger;
mod parking;
mod resolve;
mod session;
mod state;
mod tables;
mod tx;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

use crate::broker::Partition;
use crate::config::NoKeys;
use crate::env::{Env, Timestamp};
use crate::error::{Error, ErrorKind};
use crate::store::{
    AdmitBatch, Admitted, ClaimAnswer, ClaimRef, ClaimRequest, CommitGroup, Committed, DeadQuery, Fate,
    LeaseKey, LeaseRef, NewSession, OwnConnection, Parked, ParkedId, ReleaseAnswer, Renewed, Reposition,
    Scope, SessionId, Store, StoreAdapter,
};
pub use tx::MemoryTx;

use state::State;

/// How long `freed` waits: what only time frees is told as late as this.
const FREED_WAIT: Duration = Duration::from_secs(1);

/// One database in memory. Clones are handles on the same one:
///
/// ```
/// use keylane::memory::Memory;
/// let memory = Memory::new();
/// let same = memory.clone(); // for `.store(..)` of another runtime
/// ```
#[derive(Clone, Default)]
pub struct Memory(Arc<Database>);

#[derive(Default)]
struct Database {
    state: Arc<Mutex<State>>,
    /// The database's own clock (rule S4): one for all workers, whatever their own say.
    clock: OnceLock<Env>,
    /// Raised when a lease was given back.
    freed: Notify,
    away: AtomicBool,
    /// Of a handle on several databases; it holds nothing itself.
    homes: Vec<Memory>,
}

impl Memory {
    /// An empty database. Its clock is that of the first environment that opens it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty database whose clock is `env`'s wall time, whoever opens it.
    #[must_use]
    pub fn with_clock(env: &Env) -> Self {
        let memory = Self::default();
        memory.0.clock.get_or_init(|| env.clone());
        memory
    }

    /// Keys spread over several databases, as `[store.postgres] urls` does: for tests of what that means. What handlers
    /// wrote is read from each database alone.
    #[must_use]
    pub fn spread(databases: &[Self]) -> Self {
        Self(Arc::new(Database { homes: databases.to_vec(), ..Database::default() }))
    }

    /// Takes the database away, or brings it back: in between every call of a worker fails as without a server.
    pub fn set_away(&self, away: bool) {
        self.0.away.store(away, Ordering::SeqCst);
        self.0.freed.notify_waiters();
    }

    fn there(&self) -> Result<(), Error> {
        if self.0.away.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Store, "the memory store is away"));
        }
        Ok(())
    }

    /// A handle for one worker.
    #[must_use]
    pub fn worker(&self, env: &Env) -> Arc<dyn Store> {
        self.0.clock.get_or_init(|| env.clone());
        Arc::new(self.clone())
    }

    /// The rows that handlers appended to `table`, as anyone outside a transaction sees them. Waits for a
    /// commit that is running; an effect uses [`MemoryTx::rows`], because it would wait for itself here.
    pub async fn rows(&self, table: &str) -> Vec<Bytes> {
        self.0.state.lock().await.tables.rows(table).to_vec()
    }

    /// The value that handlers put under `key` of `table`. Waits as [`rows`](Self::rows) does.
    pub async fn read(&self, table: &str, key: impl AsRef<[u8]> + Send) -> Option<Bytes> {
        self.0.state.lock().await.tables.read(table, key.as_ref()).cloned()
    }

    /// All keys and values of `table`, by key. Waits as [`rows`](Self::rows) does.
    pub async fn values(&self, table: &str) -> Vec<(Bytes, Bytes)> {
        self.0.state.lock().await.tables.values(table)
    }

    /// How many leases of keys are held now, by sessions that live.
    pub async fn leases_held(&self) -> usize {
        let state = self.lock().await;
        state.sessions.keys().map(|session| state.leases_of(*session).len()).sum()
    }

    /// Ends every session of this moment, as workers do that find each other dead: for tests of what a worker
    /// does then.
    pub async fn end_sessions(&self) {
        self.lock().await.sessions.clear();
        self.0.freed.notify_waiters();
    }

    async fn lock(&self) -> OwnedMutexGuard<State> {
        self.0.state.clone().lock_owned().await
    }

    async fn begin(&self) -> MemoryTx {
        MemoryTx::begin(self.lock().await, self.now())
    }

    fn now(&self) -> Timestamp {
        self.0.clock.get().map_or_else(Timestamp::default, Env::wall)
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memory")
    }
}

impl StoreAdapter for Memory {
    const KIND: &'static str = "memory";
    type Config = NoKeys;
    type Connection = MemoryTx;

    async fn open(&self, _config: NoKeys, env: &Env) -> Result<Arc<dyn Store>, Error> {
        Ok(self.worker(env))
    }

    async fn open_all(&self, _config: NoKeys, env: &Env) -> Result<Vec<Arc<dyn Store>>, Error> {
        if self.0.homes.is_empty() {
            return Ok(vec![self.worker(env)]);
        }
        if self.0.homes.iter().all(|home| home.there().is_err()) {
            self.0.homes[0].there()?;
        }
        Ok(self.0.homes.iter().map(|home| home.worker(env)).collect())
    }
}

#[async_trait]
impl Store for Memory {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn shared(&self) -> bool {
        false
    }

    fn effect_limit(&self) -> Option<Duration> {
        // As long as the session allows.
        None
    }

    fn lease_key_max(&self) -> Option<usize> {
        None
    }

    async fn register(&self, session: NewSession) -> Result<(), Error> {
        self.there()?;
        let mut state = self.lock().await;
        state.register(session, self.now())
    }

    async fn renew(&self, session: SessionId, leased: &[Scope]) -> Result<Renewed, Error> {
        self.there()?;
        let mut state = self.lock().await;
        state.renew(session, leased, self.now())
    }

    async fn close_session(&self, session: SessionId) -> Result<(), Error> {
        self.there()?;
        self.lock().await.close_session(session);
        self.0.freed.notify_waiters();
        Ok(())
    }

    async fn claim(&self, request: ClaimRequest) -> Result<ClaimAnswer, Error> {
        self.there()?;
        let mut state = self.lock().await;
        state.claim(&request, self.now())
    }

    async fn release(&self, session: SessionId, claims: &[ClaimRef], clean: bool) -> Result<(), Error> {
        self.there()?;
        self.lock().await.release(session, claims, clean);
        Ok(())
    }

    async fn admit(&self, batch: AdmitBatch) -> Result<Admitted, Error> {
        self.there()?;
        let mut state = self.lock().await;
        state.admit(&batch, self.now())
    }

    async fn freed(&self, session: SessionId) -> Result<Vec<LeaseKey>, Error> {
        self.there()?;
        let freed = self.0.freed.notified();
        let mut freed = std::pin::pin!(freed);
        // Enabled before the look, so that what is freed after it is not missed.
        freed.as_mut().enable();
        let found = self.lock().await.freed(session, self.now());
        let Some(env) = self.0.clock.get().filter(|_| found.is_empty()) else { return Ok(found) };
        drop(env.timeout("a lease", FREED_WAIT, freed).await);
        Ok(self.lock().await.freed(session, self.now()))
    }

    async fn leases(&self, session: SessionId) -> Result<Vec<LeaseRef>, Error> {
        self.there()?;
        Ok(self.lock().await.leases_of(session))
    }

    async fn begin(&self, _session: SessionId) -> Result<OwnConnection, Error> {
        let what =
            "the memory store has one lock, which a handler's own transaction would hold; use `commit_with`";
        Err(Error::new(ErrorKind::Unsupported, what))
    }

    async fn commit(&self, group: &CommitGroup) -> Result<Committed, Error> {
        self.there()?;
        commit::commit(self, group).await
    }

    async fn resolve(&self, group: &CommitGroup) -> Result<Vec<Fate>, Error> {
        self.there()?;
        self.lock().await.resolve(group)
    }

    async fn dead_letters(&self, query: DeadQuery) -> Result<Vec<Parked>, Error> {
        self.there()?;
        self.lock().await.parking.list(&query)
    }

    async fn request_release(&self, id: ParkedId) -> Result<ReleaseAnswer, Error> {
        self.there()?;
        Ok(self.lock().await.parking.request_release(&id))
    }

    async fn reposition(&self, order: Reposition) -> Result<Vec<Partition>, Error> {
        self.there()?;
        Ok(self.lock().await.reposition(&order))
    }

    async fn sweep(&self, subscription: &str, keep: Duration) -> Result<u64, Error> {
        self.there()?;
        let mut state = self.lock().await;
        Ok(state.sweep(subscription, keep, self.now()))
    }
}
