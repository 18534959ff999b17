//! Which workload the data is about, and how far it is published: one row, so that a run that is
//! started again goes on where it was.

use keylane::{Error, ErrorKind};
use keylane_sqlite::Database;

use crate::workload;

/// The workload of this data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) seed: u32,
    pub(crate) orders: u32,
    /// Records that the workload has, those sent twice counted twice.
    pub(crate) events: u32,
}

const SEED: u32 = 7;
const ORDERS: u32 = 5_000;

impl Run {
    /// The run of this data, or a new one.
    pub(crate) async fn begin(
        database: &Database,
        seed: Option<u32>,
        orders: Option<u32>,
    ) -> Result<Self, Error> {
        let run = match Self::find(database).await? {
            Some(run) => run,
            None => Self::note(database, seed.unwrap_or(SEED), orders.unwrap_or(ORDERS)).await?,
        };
        let another = |asked: Option<u32>, have| asked.is_some_and(|asked| asked != have);
        if another(seed, run.seed) || another(orders, run.orders) {
            let what = format!(
                "{} holds {} orders of seed {}; leave out --orders and --seed to go on with them, or add --fresh to \
                 begin anew",
                database.path().display(),
                run.orders,
                run.seed
            );
            return Err(Error::new(ErrorKind::Config, what));
        }
        Ok(run)
    }

    /// Notes a new run, and returns what is noted: of two processes that begin at once the first decides.
    async fn note(database: &Database, seed: u32, orders: u32) -> Result<Self, Error> {
        let events = u32::try_from(workload::plan(u64::from(seed), orders).len()).unwrap_or(u32::MAX);
        let mut writer = database.write().await?;
        sqlx::query("INSERT OR IGNORE INTO run (id, seed, orders, events) VALUES (1, ?1, ?2, ?3)")
            .bind(seed)
            .bind(orders)
            .bind(events)
            .execute(&mut *writer)
            .await
            .map_err(failed)?;
        writer.commit().await?;
        Ok(Self::find(database).await?.unwrap_or(Self { seed, orders, events }))
    }

    async fn find(database: &Database) -> Result<Option<Self>, Error> {
        let mut reader = database.read().await?;
        let found = sqlx::query_as("SELECT seed, orders, events FROM run").fetch_optional(&mut *reader);
        let found: Option<(u32, u32, u32)> = found.await.map_err(failed)?;
        Ok(found.map(|(seed, orders, events)| Self { seed, orders, events }))
    }
}

/// How many records of the workload are published for certain.
pub(crate) async fn published(database: &Database) -> Result<u32, Error> {
    let mut reader = database.read().await?;
    sqlx::query_scalar("SELECT published FROM run").fetch_one(&mut *reader).await.map_err(failed)
}

/// Notes that so many are.
pub(crate) async fn note_published(database: &Database, published: u32) -> Result<(), Error> {
    let mut writer = database.write().await?;
    let note = sqlx::query("UPDATE run SET published = max(published, ?1)").bind(published);
    note.execute(&mut *writer).await.map_err(failed)?;
    Ok(writer.commit().await?)
}

/// An error of a query of ours.
pub(crate) fn failed(error: sqlx::Error) -> Error {
    Error::new(ErrorKind::Store, "could not read or write the tables of the order service").with_source(error)
}
