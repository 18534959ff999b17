//! Streams: their rows, and what this process remembers of them.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use keylane::{Env, Error, ErrorKind, Text};
use keylane_sqlite::Database;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::error::failed;

/// A stream as its row says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stream {
    pub id: i64,
    pub name: Arc<str>,
    /// Made when the stream was: tells it from another of the same name (rule L2).
    pub identity: Text,
    pub partitions: NonZeroU32,
}

/// The streams that this process has met, by name.
pub(crate) struct Streams {
    database: Arc<Database>,
    env: Env,
    /// What a stream gets that nobody made on purpose.
    partitions: NonZeroU32,
    known: Mutex<BTreeMap<Arc<str>, Arc<Stream>>>,
}

/// Streams remembered; beyond that all are forgotten and looked up anew.
const KNOWN_MAX: usize = 10_000;
/// Bytes of a stream's name.
const NAME_MAX: usize = 250;
/// Partitions of a stream: a row each, in every look for something new.
pub(crate) const PARTITIONS_MAX: u32 = 4096;

impl Streams {
    pub(crate) fn new(database: Arc<Database>, env: Env, partitions: NonZeroU32) -> Self {
        Self { database, env, partitions, known: Mutex::default() }
    }

    /// The stream called `name`, if there is one.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<Arc<Stream>>, Error> {
        if let Some(stream) = self.known().get(name) {
            return Ok(Some(stream.clone()));
        }
        let mut reader = self.database.read().await?;
        Ok(select(&mut reader, name).await?.map(|stream| self.remember(stream)))
    }

    /// The stream called `name`, made with `partitions` (or the configured number) where there is none.
    pub(crate) async fn make(
        &self,
        name: &str,
        partitions: Option<NonZeroU32>,
    ) -> Result<Arc<Stream>, Error> {
        if let Some(stream) = self.find(name).await? {
            return Ok(stream);
        }
        check_name(name)?;
        let mut writer = self.database.write().await?;
        insert(&mut writer, &self.env, name, partitions.unwrap_or(self.partitions)).await?;
        let stream = select(&mut writer, name).await?.ok_or_else(|| crate::error::unknown(name))?;
        writer.commit().await?;
        Ok(self.remember(stream))
    }

    /// Deletes the stream with all that it holds and all groups' positions; false when there is none.
    pub(crate) async fn delete(&self, name: &str) -> Result<bool, Error> {
        let mut writer = self.database.write().await?;
        let done = sqlx::query("DELETE FROM keylane_log_streams WHERE name = ?1")
            .bind(name)
            .execute(&mut *writer)
            .await
            .map_err(failed(format!("could not delete stream `{name}`")))?;
        // Wakes those that read it: they find out now instead of at their next look.
        writer.appended();
        writer.commit().await?;
        self.forget(name);
        Ok(done.rows_affected() > 0)
    }

    /// All streams, by name.
    pub(crate) async fn all(&self) -> Result<Vec<Arc<Stream>>, Error> {
        let mut reader = self.database.read().await?;
        let rows =
            sqlx::query("SELECT id, name, identity, partitions FROM keylane_log_streams ORDER BY name")
                .fetch_all(&mut *reader)
                .await
                .map_err(failed("could not list the streams"))?;
        rows.iter().map(|row| read(row).map(Arc::new)).collect()
    }

    /// What was remembered of `name` is not true any more.
    pub(crate) fn forget(&self, name: &str) {
        self.known().remove(name);
    }

    fn remember(&self, stream: Stream) -> Arc<Stream> {
        let stream = Arc::new(stream);
        let mut known = self.known();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(stream.name.clone(), stream.clone());
        stream
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<Arc<str>, Arc<Stream>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that a stream can have.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let fault = if name.is_empty() {
        "is empty"
    } else if name.len() > NAME_MAX {
        "has more than 250 bytes"
    } else if name.chars().any(char::is_control) {
        "holds a control character"
    } else {
        return Ok(());
    };
    let shown: String = name.escape_debug().take(NAME_MAX).collect();
    Err(Error::new(ErrorKind::Config, format!("stream name `{shown}` {fault}; choose another")))
}

async fn select(connection: &mut SqliteConnection, name: &str) -> Result<Option<Stream>, Error> {
    let row = sqlx::query("SELECT id, name, identity, partitions FROM keylane_log_streams WHERE name = ?1")
        .bind(name)
        .fetch_optional(connection)
        .await
        .map_err(failed(format!("could not look for stream `{name}`")))?;
    row.as_ref().map(read).transpose()
}

/// Does nothing where another was faster.
async fn insert(
    connection: &mut SqliteConnection,
    env: &Env,
    name: &str,
    partitions: NonZeroU32,
) -> Result<(), Error> {
    let wrong = || failed(format!("could not make stream `{name}`"));
    let made: Option<i64> = sqlx::query_scalar(
        "INSERT INTO keylane_log_streams (name, identity, partitions, created_us) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (name) DO NOTHING RETURNING id",
    )
    .bind(name)
    .bind(env.uuid().to_string())
    .bind(i64::from(partitions.get()))
    .bind(env.wall().as_micros())
    .fetch_optional(&mut *connection)
    .await
    .map_err(wrong())?;
    for partition in 0..made.map_or(0, |_| partitions.get()) {
        sqlx::query(
            "INSERT INTO keylane_log_partitions (stream, partition, low, next, bytes, reach_us)
             VALUES (?1, ?2, 0, 0, 0, -9223372036854775808)",
        )
        .bind(made)
        .bind(i64::from(partition))
        .execute(&mut *connection)
        .await
        .map_err(wrong())?;
    }
    Ok(())
}

fn read(row: &SqliteRow) -> Result<Stream, Error> {
    let corrupt =
        |what: &str| Error::new(ErrorKind::Corrupt, format!("a stream's row in the log has {what}"));
    let partitions = u32::try_from(row.get::<i64, _>(3)).ok().and_then(NonZeroU32::new);
    Ok(Stream {
        id: row.get(0),
        name: row.get::<&str, _>(1).into(),
        identity: row.get::<&str, _>(2).into(),
        partitions: partitions.ok_or_else(|| corrupt("no partitions"))?,
    })
}
