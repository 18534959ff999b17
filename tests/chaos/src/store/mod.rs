//! The store under test, from both sides: how a worker's handler writes an effect, and how the driver
//! prepares the table, reads it, and speaks of the store in a worker's configuration.

#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

use async_trait::async_trait;
use keylane::store::{Store, StoreAdapter};
use keylane::{Effects, Error, ErrorKind, Failure, Tx};
use std::sync::Arc;

#[cfg(feature = "postgres")]
pub(crate) use postgres::{Database, PostgresSide, second};
pub(crate) use sqlite::SqliteSide;

use crate::clock::Nanos;

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum StoreKind {
    /// SQLite, in the folder of the run.
    Sqlite,
    /// PostgreSQL, a server of the run's own.
    Postgres,
    /// The same, with keys spread over two databases (rule S10). What cuts a worker's link cuts it off from the first.
    Postgres2,
}

/// What a handler writes.
#[derive(Debug, Clone)]
pub(crate) struct EffectRow {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) number: u64,
    pub(crate) token: u64,
    pub(crate) worker: u32,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
}

/// A store with the table of effects.
pub(crate) trait EffectTable: StoreAdapter {
    /// Writes the row, inside the transaction that commits its event.
    fn write(tx: Tx<Self>, row: EffectRow) -> impl Future<Output = Result<(), Failure>> + Send + 'static
    where
        Self: Sized;

    /// Records that write.
    fn record(fx: &mut Effects<Self>, row: EffectRow)
    where
        Self: Sized,
    {
        fx.commit_with(row, Self::write);
    }
}

/// An effect as it lies in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// Its event.
    pub id: String,
    /// The fencing token that its handler had.
    pub token: u64,
    /// Who wrote it.
    pub worker: u32,
    /// From where its event was read.
    pub place: (u32, u64),
    /// When it was written, by the clock of the machine.
    pub at: Nanos,
}

/// The driver's view of the store.
#[async_trait]
pub(crate) trait StoreSide: Send + Sync {
    /// `[store.KIND]` for a worker in this place.
    fn config(&self, place: usize) -> String;

    /// How many effects there are.
    async fn count(&self) -> Result<u64, Error>;

    /// All effects in the order of the store's own sequence; of several databases one after the other, since a key lies in
    /// one of them.
    async fn effects(&self) -> Result<Vec<Effect>, Error>;

    /// The store itself, for its dead letters; one for each database.
    async fn open(&self) -> Result<Vec<Arc<dyn Store>>, Error>;

    /// Ends the connections of all workers.
    async fn terminate(&self) -> Result<(), Error> {
        Err(Error::new(ErrorKind::Store, "an embedded store has no connections to end"))
    }

    /// Whether it can be used.
    async fn answers(&self) -> bool {
        true
    }
}
