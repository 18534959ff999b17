//! SQLite as Keylane's store: the embedded default.
//!
//! [`Database`] is one file in one process: its one writer, its readers, its migrations. The store
//! and the embedded log share it, and so does the service, whose tables may lie in the same file;
//! all tables of ours begin with `keylane_`.
//!
//! [`Sqlite`] names the store in code: a handler that takes `Effects<Sqlite>` writes with
//! `sqlx::query(..).execute(&mut *tx)`, where `tx` derefs to an [`sqlx::SqliteConnection`].
#![warn(missing_docs)]

mod admit;
mod claim;
mod commit;
mod config;
pub mod database;
mod error;
mod lease;
mod ledger;
mod look;
mod parked_row;
mod parking;
mod scope;
mod session;
mod sweep;
mod tries;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::Partition;
use keylane::store::{
    AdmitBatch, Admitted, ClaimAnswer, ClaimRef, ClaimRequest, CommitGroup, Committed, DeadQuery, Fate,
    LeaseKey, LeaseRef, NewSession, OwnConnection, Parked, ParkedId, ReleaseAnswer, Renewed, Reposition,
    Scope, SessionId, Store, StoreAdapter,
};
use keylane::{Env, Error, ErrorKind};

pub use config::SqliteConfig;
pub use database::Database;

/// The store in a SQLite file: `.store(Sqlite)`, `Effects<Sqlite>`, `Tx<Sqlite>`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sqlite;

impl StoreAdapter for Sqlite {
    const KIND: &'static str = "sqlite";
    type Config = SqliteConfig;
    type Connection = sqlx::SqliteConnection;

    async fn open(&self, config: SqliteConfig, env: &Env) -> Result<Arc<dyn Store>, Error> {
        let database = Database::open(&config.path, env).await?;
        let store = SqliteStore::on(database, env, config.effect_limit.map(Into::into)).await?;
        Ok(Arc::new(store))
    }
}

/// The store's tables in one database.
#[derive(Debug)]
pub struct SqliteStore {
    database: Arc<Database>,
    env: Env,
    scopes: scope::Scopes,
    /// How long the writes of one transaction may take, if less than a third of the session's lifetime
    /// (rule S3: it holds the one writer, and must end well before a session does).
    effect_limit: Option<Duration>,
}

/// The component's migrations, one file a version.
const MIGRATIONS: &[database::Migration] = &[
    (1, include_str!("../migrations/0001_store.sql")),
    (2, include_str!("../migrations/0002_leases.sql")),
    (3, include_str!("../migrations/0003_marks.sql")),
];

impl SqliteStore {
    /// The store in a database that is open already, its tables brought to this release's version. The
    /// writes of one transaction may take `effect_limit`; without one, a third of the session's lifetime.
    ///
    /// # Errors
    /// See [`Database::migrate`].
    pub async fn on(
        database: Arc<Database>,
        env: &Env,
        effect_limit: Option<Duration>,
    ) -> Result<Self, Error> {
        database.migrate("store", MIGRATIONS).await?;
        Ok(Self { database, env: env.clone(), scopes: scope::Scopes::default(), effect_limit })
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn kind(&self) -> &'static str {
        Sqlite::KIND
    }

    fn shared(&self) -> bool {
        true
    }

    fn effect_limit(&self) -> Option<Duration> {
        self.effect_limit
    }

    fn lease_key_max(&self) -> Option<usize> {
        None
    }

    async fn register(&self, session: NewSession) -> Result<(), Error> {
        session::register(self, session).await
    }

    async fn renew(&self, session: SessionId, leased: &[Scope]) -> Result<Renewed, Error> {
        session::renew(self, session, leased).await
    }

    async fn close_session(&self, session: SessionId) -> Result<(), Error> {
        session::close(self, session).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<ClaimAnswer, Error> {
        claim::claim(self, request).await
    }

    async fn release(&self, session: SessionId, claims: &[ClaimRef], clean: bool) -> Result<(), Error> {
        claim::release(self, session, claims, clean).await
    }

    async fn admit(&self, batch: AdmitBatch) -> Result<Admitted, Error> {
        admit::admit(self, &batch).await
    }

    async fn freed(&self, session: SessionId) -> Result<Vec<LeaseKey>, Error> {
        lease::freed(self, session).await
    }

    async fn leases(&self, session: SessionId) -> Result<Vec<LeaseRef>, Error> {
        lease::of_session(self, session).await
    }

    async fn begin(&self, _session: SessionId) -> Result<OwnConnection, Error> {
        let what = "SQLite has one writer, which a handler's own transaction would hold; use `commit_with`";
        Err(Error::new(ErrorKind::Unsupported, what))
    }

    async fn commit(&self, group: &CommitGroup) -> Result<Committed, Error> {
        commit::commit(self, group).await
    }

    async fn resolve(&self, group: &CommitGroup) -> Result<Vec<Fate>, Error> {
        commit::resolve(self, group).await
    }

    async fn dead_letters(&self, query: DeadQuery) -> Result<Vec<Parked>, Error> {
        parking::dead_letters(self, &query).await
    }

    async fn request_release(&self, id: ParkedId) -> Result<ReleaseAnswer, Error> {
        parking::request_release(self, &id).await
    }

    async fn reposition(&self, order: Reposition) -> Result<Vec<Partition>, Error> {
        claim::reposition(self, &order).await
    }

    async fn sweep(&self, subscription: &str, keep: Duration) -> Result<u64, Error> {
        sweep::sweep(self, subscription, keep).await
    }
}
