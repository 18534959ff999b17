//! PostgreSQL as Keylane's store, for many workers on many machines.
//!
//! [`Postgres`] names the store in code: a handler that takes `Effects<Postgres>` writes with
//! `sqlx::query(..).execute(&mut *tx)`, where `tx` derefs to a [`sqlx::PgConnection`].
//!
//! What has to happen in one round trip is a function in the database (`migrations/`): admission, and the commit of a
//! plain group. In reading order: `database` (connections and their limits), `session`, `claim`, `lease`, `admit`,
//! `commit`, `parking`.
#![warn(missing_docs)]

mod admit;
mod arrays;
mod claim;
mod commit;
mod config;
mod database;
mod error;
mod freed;
mod id;
mod lease;
mod numbers;
mod parameters;
mod parked_row;
mod parking;
mod scope;
mod session;
mod statement;
mod wants;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::Partition;
use keylane::store::{
    AdmitBatch, Admitted, ClaimAnswer, ClaimRef, ClaimRequest, CommitGroup, Committed, DeadQuery, Fate,
    LeaseKey, LeaseRef, NewSession, OwnConnection, OwnTransactions, Parked, ParkedId, ReleaseAnswer, Renewed,
    Reposition, Scope, SessionId, Store, StoreAdapter,
};
use keylane::{Env, Error, ErrorKind};
use sqlx::PgPool;

pub use config::{Pooler, PostgresConfig};
pub use statement::{Statement, Value, sql};

use database::{Database, place};

/// The store in PostgreSQL: `.store(Postgres::new())`, `Effects<Postgres>`, `Tx<Postgres>`.
#[derive(Debug, Clone, Default)]
pub struct Postgres {
    pool: Option<PgPool>,
}

impl Postgres {
    /// The database that the configuration names.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The database of the service's own pool. Connections for commits, the heartbeat and one that listens are
    /// opened beside it, with its options; all else takes connections from it.
    #[must_use]
    pub fn with_pool(pool: PgPool) -> Self {
        Self { pool: Some(pool) }
    }
}

impl StoreAdapter for Postgres {
    const KIND: &'static str = "postgres";
    type Config = PostgresConfig;
    type Connection = sqlx::PgConnection;

    async fn open(&self, config: PostgresConfig, env: &Env) -> Result<Arc<dyn Store>, Error> {
        let mut all = self.open_all(config, env).await?;
        match (all.pop(), all.is_empty()) {
            (Some(only), true) => Ok(only),
            _ => {
                let what =
                    "store.postgres.urls names several databases, and one was asked for; use `open_all`";
                Err(Error::new(ErrorKind::Unsupported, what))
            }
        }
    }

    async fn open_all(&self, config: PostgresConfig, env: &Env) -> Result<Vec<Arc<dyn Store>>, Error> {
        if !config::is_name(&config.schema) {
            return Err(Error::new(ErrorKind::Config, "store.postgres.schema is no plain name"));
        }
        let configs = config.each()?;
        let mut databases = Vec::with_capacity(configs.len());
        for (at, one) in configs.iter().enumerate() {
            databases.push(Database::new(one, &place::called(at, configs.len()), self.pool.clone(), env)?);
        }
        let mut away = Vec::new();
        for (at, database) in databases.iter().enumerate() {
            match database.ready().await {
                Ok(()) => {}
                Err(error) if error.is_transient() && databases.len() > 1 => away.push((at, error)),
                Err(error) => return Err(place::named(at, configs.len(), error)),
            }
        }
        place::settle(&databases, away).await?;
        let effect_limit = config.effect_limit.map(Into::into);
        let store = |database| Arc::new(PostgresStore::new(database, effect_limit)) as Arc<dyn Store>;
        Ok(databases.into_iter().map(store).collect())
    }
}

impl OwnTransactions for Postgres {}

/// One worker's handle on the database.
pub(crate) struct PostgresStore {
    database: Arc<Database>,
    releases: freed::Releases,
    scopes: scope::Scopes,
    positions: commit::Positions,
    effect_limit: Option<Duration>,
}

/// How much longer than the server's own limit an answer is waited for.
const GRACE: Duration = Duration::from_secs(5);

impl PostgresStore {
    fn new(database: Database, effect_limit: Option<Duration>) -> Self {
        let database = Arc::new(database);
        Self {
            releases: freed::Releases::listen(&database),
            database,
            scopes: scope::Scopes::default(),
            positions: commit::Positions::default(),
            effect_limit,
        }
    }

    /// The server ends every statement in time; a server that can't be reached ends nothing.
    async fn bounded<T>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let limit = self.database.limit() * 3 + GRACE;
        let late =
            |error: Error| Error::new(ErrorKind::Store, "PostgreSQL does not answer").with_source(error);
        self.database.env().timeout(what, limit, work).await.map_err(late)?
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn kind(&self) -> &'static str {
        Postgres::KIND
    }

    fn shared(&self) -> bool {
        true
    }

    fn effect_limit(&self) -> Option<Duration> {
        self.effect_limit
    }

    fn commits_at_once(&self) -> usize {
        self.database.commits_at_once()
    }

    fn lease_key_max(&self) -> Option<usize> {
        Some(admit::KEY_MAX)
    }

    async fn register(&self, session: NewSession) -> Result<(), Error> {
        self.database.limit_to(session.lifetime);
        self.bounded("a registration", session::register(self, &session)).await
    }

    async fn renew(&self, session: SessionId, leased: &[Scope]) -> Result<Renewed, Error> {
        self.bounded("a renewal", session::renew(self, session, leased)).await
    }

    async fn close_session(&self, session: SessionId) -> Result<(), Error> {
        self.bounded("the end of a session", session::close(self, session)).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<ClaimAnswer, Error> {
        self.bounded("a claim", claim::claim(self, &request)).await
    }

    async fn release(&self, session: SessionId, claims: &[ClaimRef], clean: bool) -> Result<(), Error> {
        self.bounded("a release", claim::release(self, session, claims, clean)).await
    }

    async fn admit(&self, batch: AdmitBatch) -> Result<Admitted, Error> {
        self.bounded("an admission", admit::admit(self, &batch)).await
    }

    async fn freed(&self, session: SessionId) -> Result<Vec<LeaseKey>, Error> {
        freed::freed(self, session).await
    }

    async fn leases(&self, session: SessionId) -> Result<Vec<LeaseRef>, Error> {
        self.bounded("a list of leases", lease::leases(self, session)).await
    }

    async fn begin(&self, _session: SessionId) -> Result<OwnConnection, Error> {
        // Whose session it is, is asked where it ends: with the commit of its event.
        let begun = self.bounded("the begin of a transaction", self.database.begin_for_handler()).await?;
        Ok(Box::new(begun))
    }

    async fn commit(&self, group: &CommitGroup) -> Result<Committed, Error> {
        commit::commit(self, group).await
    }

    async fn resolve(&self, group: &CommitGroup) -> Result<Vec<Fate>, Error> {
        self.bounded("a resolution", commit::resolve(self, group)).await
    }

    async fn dead_letters(&self, query: DeadQuery) -> Result<Vec<Parked>, Error> {
        self.bounded("a list of dead letters", parking::dead_letters(self, &query)).await
    }

    async fn request_release(&self, id: ParkedId) -> Result<ReleaseAnswer, Error> {
        self.bounded("a request for a release", parking::request_release(self, &id)).await
    }

    async fn reposition(&self, order: Reposition) -> Result<Vec<Partition>, Error> {
        self.bounded("a repositioning", claim::reposition(self, &order)).await
    }

    async fn sweep(&self, subscription: &str, keep: Duration) -> Result<u64, Error> {
        self.bounded("a sweep", session::sweep(self, subscription, keep)).await
    }
}
