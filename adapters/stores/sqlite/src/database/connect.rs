//! Opening connections, and waiting for other processes.

use std::path::Path;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use keylane::{Env, Error};
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};

use super::guards::{Guarded, Guards};
use crate::error::{failed, is_busy};

/// How long SQLite itself waits for another process, at each try.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);
/// Tries after the first. With SQLite's own waiting they end within three seconds: below a third of a
/// session's lifetime (rule S3), and long enough for any commit that is not stuck.
const BUSY_TRIES_MAX: usize = 8;
/// Pages that the writer keeps in memory, in KiB as the pragma wants it: the hot end of the ledger.
const WRITER_CACHE: &str = "-16384";
/// Pages in the write-ahead log between two checkpoints: 32 MiB. The hot pages of ledger, log and claims
/// are written into the file once a checkpoint, so that rare ones cost commits less.
const CHECKPOINT_EVERY: &str = "8000";

/// A connection that writes: WAL, durable at each commit, guarded against commits that are not ours.
pub(super) async fn writer(path: &Path, env: &Env) -> Result<Guarded, Error> {
    let options = options(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("cache_size", WRITER_CACHE)
        .pragma("wal_autocheckpoint", CHECKPOINT_EVERY);
    let mut connection = connect(path, env, &options).await?;
    let guards = Guards::default();
    guards.attach(&mut connection).await.map_err(|error| opening(path, error))?;
    Ok(Guarded { connection, guards })
}

/// A connection that refuses to write.
pub(super) async fn reader(path: &Path, env: &Env) -> Result<SqliteConnection, Error> {
    // Not opened read-only: a reader of a WAL database may have to write its shared memory.
    connect(path, env, &options(path).pragma("query_only", "ON")).await
}

/// The waits between tries while another process has the file.
pub(super) fn busy_waits() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(5))
        .with_max_delay(Duration::from_millis(100))
        .with_max_times(BUSY_TRIES_MAX)
        .with_jitter()
        .build()
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .disable_statement_logging()
}

/// Becoming a WAL database can meet another process that does the same; SQLite does not wait there.
async fn connect(path: &Path, env: &Env, options: &SqliteConnectOptions) -> Result<SqliteConnection, Error> {
    let mut waits = busy_waits();
    loop {
        match (options.connect().await, waits.next()) {
            (Ok(connection), _) => return Ok(connection),
            (Err(error), Some(wait)) if is_busy(&error) => env.sleep(wait).await,
            (Err(error), _) => return Err(opening(path, error)),
        }
    }
}

fn opening(path: &Path, error: sqlx::Error) -> Error {
    failed(format!("could not open the database {}", path.display()), error)
}
