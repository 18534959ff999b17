//! Readers: a few connections that can't write and wait for no writer.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use keylane::{Error, ErrorKind};
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Database, connect};

/// Readers of one database and process.
const READERS_MAX: usize = 4;

pub(super) struct Readers {
    permits: Semaphore,
    /// Never longer than the permits: who takes a permit takes or opens one.
    idle: Mutex<Vec<SqliteConnection>>,
}

impl Readers {
    pub(super) fn new() -> Self {
        Self { permits: Semaphore::new(READERS_MAX), idle: Mutex::new(Vec::new()) }
    }

    pub(super) async fn take<'a>(&'a self, database: &'a Database) -> Result<Reader<'a>, Error> {
        let permit =
            self.permits.acquire().await.map_err(|_| {
                Error::new(ErrorKind::Closed, format!("{} is closed", database.path.display()))
            })?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect::reader(&database.path, &database.env).await?,
        };
        Ok(Reader { database, connection: Some(connection), _permit: permit })
    }
}

/// A connection that only reads. Each statement of its own sees the newest commit.
pub struct Reader<'a> {
    database: &'a Database,
    connection: Option<SqliteConnection>,
    _permit: SemaphorePermit<'a>,
}

impl Reader<'_> {
    /// A number that changes when any other connection, of this process or another, commits. It
    /// compares only with this same reader's own: whoever watches keeps its reader.
    ///
    /// # Errors
    /// A `Store` error when SQLite can't answer.
    pub async fn data_version(&mut self) -> Result<i64, Error> {
        let asked = sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut **self).await;
        asked.map_err(|error| self.database.error("could not ask for changes", error))
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let mut idle = self.database.readers.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(connection);
        }
    }
}

impl Deref for Reader<'_> {
    type Target = SqliteConnection;
    fn deref(&self) -> &SqliteConnection {
        self.connection.as_ref().expect("a reader has its connection until it is dropped")
    }
}

impl DerefMut for Reader<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.connection.as_mut().expect("a reader has its connection until it is dropped")
    }
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reader({})", self.database.path.display())
    }
}
