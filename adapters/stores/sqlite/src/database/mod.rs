//! One SQLite file in one process: one writer that takes turns, a few readers, migrations.
//!
//! There is one [`Database`] per path and process, whoever opens it: SQLite has one writer, and two
//! parts of a process that wait for each other by busy time-outs would be slow and unfair. Other
//! processes may have the same file open; they meet at SQLite's own locks.

mod connect;
mod guards;
mod migrate;
mod path;
mod reader;
mod registry;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keylane::{Env, Error};
use tokio::sync::{Notify, watch};

pub use migrate::Migration;
pub use reader::Reader;
pub use writer::{CommitError, Writer};

use crate::error::failed;
use reader::Readers;
use writer::Turns;

/// One SQLite file in one process. See the [module](self).
pub struct Database {
    path: PathBuf,
    env: Env,
    turns: Turns,
    readers: Readers,
    appended: watch::Sender<u64>,
    leases: Notify,
}

impl Database {
    /// The process's database at `path`, opened and created where needed. The folder must exist.
    ///
    /// # Errors
    /// `Config` when `path` can't name a file that outlives the process (such as `:memory:`) or its
    /// folder does not exist; `Store` when SQLite can't open it.
    pub async fn open(path: impl AsRef<Path>, env: &Env) -> Result<Arc<Self>, Error> {
        registry::open(path::canonical(path.as_ref())?, env).await
    }

    /// A database that shares nothing with others of the same path in this process, as if another
    /// process had opened it. For tests of what two processes do to one file.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub async fn open_apart(path: impl AsRef<Path>, env: &Env) -> Result<Arc<Self>, Error> {
        Self::connect(path::canonical(path.as_ref())?, env).await.map(Arc::new)
    }

    /// Where it lies, with symbolic links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the writer and begins a transaction; waits for its turn, first come, first served.
    ///
    /// # Errors
    /// A transient `Store` error when another process keeps the file locked for too long.
    pub async fn write(&self) -> Result<Writer<'_>, Error> {
        let turn = self.turns.take().await;
        Writer::begin(self, turn).await
    }

    /// As [`write`](Self::write), ahead of all but one of those who wait: for renewals, which must
    /// not stand behind a queue of commits.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn write_soon(&self) -> Result<Writer<'_>, Error> {
        let turn = self.turns.take_soon().await;
        Writer::begin(self, turn).await
    }

    /// A connection that only reads, from a small pool; back to it when dropped.
    ///
    /// # Errors
    /// A `Store` error when SQLite can't open another connection.
    pub async fn read(&self) -> Result<Reader<'_>, Error> {
        self.readers.take(self).await
    }

    /// Changes at each commit of this process that [appended](Writer::appended) something. Commits of
    /// other processes show in [`Reader::data_version`] alone.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.appended.subscribe()
    }

    /// Woken when this process gave leases back, or waits for more of them.
    pub(crate) fn leases(&self) -> &Notify {
        &self.leases
    }

    async fn connect(path: PathBuf, env: &Env) -> Result<Self, Error> {
        // The first connection makes the file a WAL database; readers can't.
        let writer = connect::writer(&path, env).await?;
        Ok(Self {
            turns: Turns::new(writer),
            readers: Readers::new(),
            appended: watch::Sender::new(0),
            leases: Notify::new(),
            env: env.clone(),
            path,
        })
    }

    fn error(&self, what: &str, error: sqlx::Error) -> Error {
        failed(format!("{what} in {}", self.path.display()), error)
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Database({})", self.path.display())
    }
}
