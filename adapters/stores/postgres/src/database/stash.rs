//! Connections of our own, as many as there are places.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use keylane::env::Instant;
use keylane::{Env, Error, ErrorKind};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Executor, Row};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::prepared::Prepared;
use super::{Database, place};
use crate::error::failed;

/// One that rested for so long is asked whether it still lives.
const REST: Duration = Duration::from_secs(5);

/// Those that rest, at most `places` with those that are lent.
#[derive(Debug)]
pub(super) struct Stash {
    options: PgConnectOptions,
    places: Semaphore,
    resting_max: usize,
    read_only: bool,
    resting: Mutex<Vec<Resting>>,
}

#[derive(Debug)]
struct Resting {
    connection: PgConnection,
    limit: Duration,
    backend: Option<Backend>,
    prepared: Prepared,
    since: Instant,
}

/// The server's process of a connection: its number, and when it began.
pub(super) type Backend = (i32, String);

/// A connection that is lent; dropped, it is closed.
pub(super) struct Taken<'s> {
    stash: &'s Stash,
    /// `None` of one that a handler had.
    _place: Option<SemaphorePermit<'s>>,
    /// `None` while a write of a handler has it.
    pub(super) connection: Option<PgConnection>,
    limit: Duration,
    /// Where nothing stands between us and the server.
    pub(super) backend: Option<Backend>,
    /// Of what handlers record, and what stands ready on it.
    pub(super) prepared: Prepared,
}

impl Stash {
    pub(super) fn new(options: PgConnectOptions, places: u32) -> Self {
        let resting_max = places as usize;
        Self {
            options,
            places: Semaphore::new(resting_max),
            resting_max,
            read_only: false,
            resting: Mutex::default(),
        }
    }

    /// The same, with connections that only read outside a transaction that says otherwise.
    pub(super) fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    pub(super) fn places(&self) -> usize {
        self.resting_max
    }

    pub(super) async fn take(&self, env: &Env, database: &Database) -> Result<Taken<'_>, Error> {
        let closed = |_| Error::new(ErrorKind::Closed, "the store is closed");
        let place = self.places.acquire().await.map_err(closed)?;
        self.fill(Some(place), env, database).await
    }

    /// One that was used just now, if another place is free besides: who commits never waits for it.
    pub(super) fn take_warm(&self, env: &Env, database: &Database) -> Option<Taken<'_>> {
        if self.places.available_permits() < 2 {
            return None;
        }
        let place = self.places.try_acquire().ok()?;
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_warm =
            |rested: &mut Resting| env.now().since(rested.since) < REST && rested.limit == database.limit();
        let rested = resting.pop_if(is_warm)?;
        Some(Taken::again(self, Some(place), rested))
    }

    /// Since when the one rests that rests for the shortest time.
    pub(super) fn resting_since(&self) -> Option<Instant> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).last().map(|rested| rested.since)
    }

    /// One more than there are places, for a handler: who runs it bounds how many there are.
    pub(super) async fn take_more(&self, env: &Env, database: &Database) -> Result<PgConnection, Error> {
        let mut taken = self.fill(None, env, database).await?;
        Ok(taken.connection.take().expect("it was just filled in"))
    }

    /// Takes back what a handler had.
    pub(super) fn adopt(&self, connection: PgConnection, database: &Database) -> Taken<'_> {
        Taken { limit: database.limit(), ..Taken::first(self, None, connection) }
    }

    async fn fill<'s>(
        &'s self,
        place: Option<SemaphorePermit<'s>>,
        env: &Env,
        database: &Database,
    ) -> Result<Taken<'s>, Error> {
        let mut taken = loop {
            let rested = self.resting.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut rested) = rested else {
                break Taken::first(self, place, self.connect(database).await?);
            };
            if env.now().since(rested.since) < REST || rested.connection.ping().await.is_ok() {
                break Taken::again(self, place, rested);
            }
        };
        taken.limit_to(database).await?;
        Ok(taken)
    }

    async fn connect(&self, database: &Database) -> Result<PgConnection, Error> {
        let connection = PgConnection::connect_with(&self.options).await;
        let mut connection = connection.map_err(|error| failed(self.unreachable(&error), error))?;
        place::check_again(database, &mut connection).await?;
        Ok(connection)
    }

    /// What to look at; the password is none of it.
    fn unreachable(&self, error: &sqlx::Error) -> String {
        let options = &self.options;
        let place = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        let (user, database) =
            (options.get_username(), options.get_database().unwrap_or(options.get_username()));
        let remedy = match error {
            sqlx::Error::Tls(_) => "; its authority is named by `?sslrootcert=`",
            sqlx::Error::Database(_) => "; look at user, password and database of its address",
            _ => "",
        };
        format!(
            "could not connect to PostgreSQL at {place}, database {database:?}, as {user:?}: {error}{remedy}"
        )
    }

    /// After one was lost: those that rest are probably lost as well.
    pub(super) fn forget(&self) {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl<'s> Taken<'s> {
    fn first(stash: &'s Stash, place: Option<SemaphorePermit<'s>>, connection: PgConnection) -> Self {
        let (limit, prepared) = (Duration::ZERO, Prepared::default());
        Self { stash, _place: place, connection: Some(connection), limit, backend: None, prepared }
    }

    fn again(stash: &'s Stash, place: Option<SemaphorePermit<'s>>, rested: Resting) -> Self {
        let Resting { connection, limit, backend, prepared, .. } = rested;
        Self { stash, _place: place, connection: Some(connection), limit, backend, prepared }
    }

    /// S3: sets the limits where they are not those of the session.
    async fn limit_to(&mut self, database: &Database) -> Result<(), Error> {
        let limit = database.limit();
        if let Some(connection) = self.connection.as_mut().filter(|_| database.own && self.limit != limit) {
            let isolation = "SET default_transaction_isolation = 'read committed'";
            let access = format!("SET default_transaction_read_only = {}", self.stash.read_only);
            let backend = "SELECT pid, extract(epoch FROM backend_start)::text FROM pg_stat_activity
                WHERE pid = pg_backend_pid()";
            let sql = format!("{}; {isolation}; {access}; {backend}", database.limits("SET"));
            let set = connection.fetch_optional(AssertSqlSafe(sql)).await;
            let set = set.map_err(|error| failed("could not set the limits of a connection", error))?;
            self.backend = set.and_then(|row| Some((row.try_get(0).ok()?, row.try_get(1).ok()?)));
            self.limit = limit;
        }
        Ok(())
    }

    /// Gives the connection back; it is in no transaction.
    pub(super) fn give(mut self, env: &Env) {
        if let Some(connection) = self.connection.take() {
            let (limit, backend, prepared) = (self.limit, self.backend, self.prepared);
            let resting = Resting { connection, limit, backend, prepared, since: env.now() };
            let mut all = self.stash.resting.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() < self.stash.resting_max {
                all.push(resting);
            }
        }
    }

    pub(super) fn stash(&self) -> &Stash {
        self.stash
    }
}
