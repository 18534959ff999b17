//! `sqlite_full` and `sqlite_commit_with`: what exactly-once effects cost on SQLite, durable at each commit.
//!
//! All arms leave the same rows behind, one of a ledger and one of the service's own for each event, and
//! each run counts them at its end.

mod ours;
mod plain;

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use crate::orders::{Order, orders};
use crate::report::{Report, Target};
use crate::rounds::{Arm, against_first};
use crate::{Broken, Plan};

/// Events of one of the raw arm's transactions, and the most of one of ours.
const BATCH: usize = 1000;

pub(crate) fn full(plan: &Plan) -> Result<(), Broken> {
    let mut report = Report::new("sqlite_full", Target::AtLeast(0.5));
    for spread in &plan.spreads {
        let orders = orders(*spread, plan.events.unwrap_or(200_000));
        let arms = vec![
            Arm::new("batched_inserts", || plain::batched(&orders)),
            Arm::new("keylane_batches", || ours::batches(&orders)),
        ];
        against_first(&mut report, *spread, plan.rounds, arms)?;
    }
    report.end()
}

pub(crate) fn commit_with(plan: &Plan) -> Result<(), Broken> {
    let mut report = Report::new("sqlite_commit_with", Target::AtLeast(5.0));
    for spread in &plan.spreads {
        let orders = orders(*spread, plan.events.unwrap_or(50_000));
        // One by one takes a while; the rate is the same over fewer of them.
        let few = &orders[..orders.len() / 10];
        let arms = vec![
            Arm::new("transaction_an_event", || plain::one_by_one(few)),
            Arm::new("keylane_commit_with", || ours::commit_with(&orders)),
            Arm::new("keylane_commit_with_ahead", || ours::commit_with_ahead(&orders)),
        ];
        against_first(&mut report, *spread, plan.rounds, arms)?;
    }
    report.end()
}

/// The service's own table.
const EFFECTS: &str = "CREATE TABLE effects (id TEXT NOT NULL, order_key TEXT NOT NULL) STRICT";

/// A connection as the store's writer has it.
async fn connect(path: &Path) -> Result<SqliteConnection, Broken> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("cache_size", "-16384")
        .disable_statement_logging();
    Ok(options.connect().await?)
}

/// An arm that lost or doubled a row has measured nothing.
async fn check(path: &Path, expected: &[Order]) -> Result<(), Broken> {
    let mut connection = connect(path).await?;
    let query = "SELECT count(*), count(DISTINCT id) FROM effects";
    let (rows, ids): (i64, i64) = sqlx::query_as(query).fetch_one(&mut connection).await?;
    connection.close().await?;
    if (rows, ids) != (expected.len() as i64, expected.len() as i64) {
        return Err(format!("{rows} rows of {ids} events were written instead of {}", expected.len()).into());
    }
    Ok(())
}
