//! One database: its connections, their limits, its schema.
//!
//! Connections are apart, so that none starve others: commits have theirs, the heartbeat has one, each transaction of
//! a handler's own has one, all else shares the rest, or the service's own pool. Where a pooler or the service stands
//! between us and the server, nothing that outlives a transaction can be counted on: then each transaction says its
//! limits itself (rule S3).

mod link;
mod migrate;
mod options;
pub(crate) mod place;
mod prepared;
mod stash;
mod writing;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keylane::{Env, Error, ErrorKind};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::query::{Query, QueryScalar};
use sqlx::{AssertSqlSafe, FromRow, PgPool, Postgres};
use tokio::sync::OnceCell;

pub(crate) use link::Link;
pub(crate) use prepared::Unready;
pub(crate) use writing::Writing;

use crate::config::{Pooler, PostgresConfig};
use crate::error::failed;
use stash::{Backend, Stash};
use writing::UnderWay;

/// How long a session lasts until one is registered, for the limits of what runs before.
const LIFETIME: Duration = Duration::from_secs(15);
/// How long is waited for a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// A database with our schema in it.
#[derive(Debug)]
pub(crate) struct Database {
    env: Env,
    schema: String,
    /// Connections are ours alone: what is set on one stays.
    own: bool,
    commits: Stash,
    /// Of commits with writes of handlers. Outside a transaction of ours they only read: where a write has ended it,
    /// the next one must not go on without.
    writers: Stash,
    /// Of commits with which statements of handlers travel: what these do to a session is not for other commits.
    stating: Stash,
    heartbeat: Stash,
    /// Of handlers that have transactions of their own.
    handlers: Stash,
    work: Work,
    options: PgConnectOptions,
    /// S3, in milliseconds: less than a third of the session that was registered last.
    limit: AtomicU64,
    writing: UnderWay,
    /// Which of how many databases it was at the start (rule S10).
    place: OnceLock<place::Place>,
    /// The schema is of this release's version.
    ready: OnceCell<()>,
}

#[derive(Debug)]
enum Work {
    Ours(Box<Stash>),
    Services(PgPool),
}

impl Database {
    /// Nothing is connected yet.
    pub(crate) fn new(
        config: &PostgresConfig,
        called: &str,
        pool: Option<PgPool>,
        env: &Env,
    ) -> Result<Self, Error> {
        let pooled = config.pooler == Pooler::Transaction;
        let options = options::options(config, called, pool.as_ref(), pooled)?;
        let stash = |places: u32| Stash::new(options.clone(), places);
        let careful = |places: u32| stash(places).read_only();
        let database = Self {
            env: env.clone(),
            schema: config.schema.clone(),
            own: !pooled,
            commits: stash(config.commit_connections),
            writers: careful(config.commit_connections),
            stating: stash(config.commit_connections),
            heartbeat: stash(1),
            handlers: careful(config.connections_max),
            work: pool.map_or_else(|| Work::Ours(Box::new(stash(config.connections_max))), Work::Services),
            options: options.clone(),
            limit: AtomicU64::new(0),
            writing: UnderWay::default(),
            place: OnceLock::new(),
            ready: OnceCell::new(),
        };
        database.limit_to(LIFETIME);
        Ok(database)
    }

    /// Brings the schema to this release's version, once. Whoever takes a connection waits for that: of several databases
    /// one may be away at the start.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        self.ready.get_or_try_init(|| migrate::migrate(self)).await.copied()
    }

    /// S3: statements, waits for locks and pauses in transactions end within less than a third of this lifetime.
    pub(crate) fn limit_to(&self, lifetime: Duration) {
        let limit = u64::try_from((lifetime * 33 / 100).as_millis()).unwrap_or(u64::MAX).max(1);
        self.limit.store(limit.min(i32::MAX as u64), Ordering::Relaxed);
    }

    pub(crate) fn limit(&self) -> Duration {
        Duration::from_millis(self.limit.load(Ordering::Relaxed))
    }

    /// A connection to commit by.
    pub(crate) async fn commits(&self) -> Result<Link<'_>, Error> {
        self.lend(&self.commits).await
    }

    /// A connection to commit by, with writes of handlers.
    pub(crate) async fn writers(&self) -> Result<Link<'_>, Error> {
        self.lend(&self.writers).await
    }

    /// A connection to commit by, with statements of handlers.
    pub(crate) async fn stating(&self) -> Result<Link<'_>, Error> {
        self.lend(&self.stating).await
    }

    /// The connection of the last commit, where it was just now, to read by: the next one finds it warm.
    pub(crate) fn warm(&self) -> Option<Link<'_>> {
        let last =
            [&self.commits, &self.writers, &self.stating].into_iter().max_by_key(|all| all.resting_since());
        let warm = last.filter(|_| self.own)?.take_warm(&self.env, self);
        Some(Link::ours(self, warm?))
    }

    /// How many connections there are to commit by.
    pub(crate) fn commits_at_once(&self) -> usize {
        self.commits.places()
    }

    /// A commit with writes of handlers is under way until this is dropped.
    pub(crate) fn write(&self) -> Writing<'_> {
        Writing { of: &self.writing, before: self.writing.begin() }
    }

    /// The heartbeat's connection.
    pub(crate) async fn heartbeat(&self) -> Result<Link<'_>, Error> {
        self.lend(&self.heartbeat).await
    }

    /// A connection with an open transaction, for a handler.
    pub(crate) async fn begin_for_handler(&self) -> Result<PgConnection, Error> {
        self.ready().await?;
        let taken =
            self.env.timeout("opening a connection", PATIENCE, self.handlers.take_more(&self.env, self));
        let connection = taken.await.map_err(none_free)??;
        let mut link = self.adopt(connection);
        link.begin().await?;
        Ok(link.lend().expect("it was just adopted"))
    }

    /// What a handler had, with its transaction.
    pub(crate) fn adopt(&self, connection: PgConnection) -> Link<'_> {
        Link::ours(self, self.handlers.adopt(connection, self)).with_transaction()
    }

    /// A connection for all else.
    pub(crate) async fn work(&self) -> Result<Link<'_>, Error> {
        match &self.work {
            Work::Ours(stash) => self.lend(stash).await,
            Work::Services(pool) => {
                self.ready().await?;
                let connection = self.env.timeout("waiting for a connection", PATIENCE, pool.acquire()).await;
                let connection = connection.map_err(none_free)?;
                let connection =
                    connection.map_err(|error| failed("the service's pool gave no connection", error))?;
                Ok(Link::pooled(self, connection))
            }
        }
    }

    /// Ends what this process of the server does.
    async fn interrupt(&self, (pid, began): Backend) -> Result<(), Error> {
        let mut link = self.work().await?;
        let sql = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
            WHERE pid = $1 AND extract(epoch FROM backend_start)::text = $2";
        let ended = sqlx::query(sql).persistent(self.own).bind(pid).bind(began).execute(&mut *link).await;
        let ended = ended.map(drop).map_err(|error| link.broke("could not interrupt a connection", error));
        link.end(ended).await
    }

    async fn lend<'d>(&'d self, stash: &'d Stash) -> Result<Link<'d>, Error> {
        self.ready().await?;
        self.lend_at_once(stash).await
    }

    /// None that was made before is used any more.
    fn forget(&self) {
        for stash in [&self.commits, &self.writers, &self.stating, &self.heartbeat, &self.handlers] {
            stash.forget();
        }
        if let Work::Ours(stash) = &self.work {
            stash.forget();
        }
    }

    /// A connection to migrate by.
    async fn to_migrate(&self) -> Result<Link<'_>, Error> {
        self.lend_at_once(&self.commits).await
    }

    async fn lend_at_once<'d>(&'d self, stash: &'d Stash) -> Result<Link<'d>, Error> {
        let taken = self.env.timeout("waiting for a connection", PATIENCE, stash.take(&self.env, self)).await;
        Ok(Link::ours(self, taken.map_err(none_free)??))
    }

    /// A dedicated connection's options, for who listens.
    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// Nothing stands between us and the server.
    pub(crate) fn is_own(&self) -> bool {
        self.own
    }

    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    /// A statement with our schema's name in it.
    pub(crate) fn sql(&self, sql: &str) -> Sql {
        Sql { text: self.text(sql), kept: self.own }
    }

    fn text(&self, sql: &str) -> String {
        sql.replace("{keylane}", &format!("\"{}\"", self.schema))
    }

    /// On which releases are told.
    pub(crate) fn channel(&self) -> String {
        format!("keylane:{}", self.schema)
    }

    /// What every transaction of ours begins with.
    fn begin(&self, own: bool) -> String {
        let begin = "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE";
        if own { begin.to_owned() } else { format!("{begin}; {}", self.limits("SET LOCAL")) }
    }

    fn limits(&self, set: &str) -> String {
        let limit = self.limit.load(Ordering::Relaxed);
        format!(
            "{set} statement_timeout = {limit}; {set} lock_timeout = {limit}; \
             {set} idle_in_transaction_session_timeout = {limit}"
        )
    }
}

/// A statement of ours.
pub(crate) struct Sql {
    text: String,
    /// It stays prepared on its connection.
    kept: bool,
}

impl Sql {
    pub(crate) fn query(&self) -> Query<'static, Postgres, PgArguments> {
        sqlx::query(AssertSqlSafe(self.text.clone())).persistent(self.kept)
    }

    /// One that gives one column.
    pub(crate) fn scalar<T>(&self) -> QueryScalar<'static, Postgres, T, PgArguments>
    where
        (T,): for<'r> FromRow<'r, PgRow>,
    {
        sqlx::query_scalar(AssertSqlSafe(self.text.clone())).persistent(self.kept)
    }
}

fn none_free(late: Error) -> Error {
    Error::new(ErrorKind::Store, "no connection to PostgreSQL was free in time").with_source(late)
}
