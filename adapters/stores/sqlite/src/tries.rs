//! Leased events that were tried and are not finished, by their id.

use std::collections::BTreeMap;

use keylane::Error;
use keylane::store::AttemptRow;
use sqlx::{Row, SqliteConnection};

use crate::claim;
use crate::error::failed;
use crate::ledger::json;
use crate::scope::signed;
use crate::session::key;

/// What is known of these ids, by their number in the list.
pub(crate) async fn find(
    connection: &mut SqliteConnection,
    scope: i64,
    ids: &[&str],
) -> Result<BTreeMap<usize, AttemptRow>, Error> {
    let rows = sqlx::query(
        "SELECT e.key AS at, t.* FROM json_each(?1) e CROSS JOIN keylane_tries t
            ON t.scope = ?2 AND t.id = e.value",
    )
    .bind(json(ids)?)
    .bind(scope)
    .fetch_all(connection)
    .await
    .map_err(|error| failed("could not read tries", error))?;
    let read = |row| Ok((usize::try_from(row_at(row)).unwrap_or(usize::MAX), claim::attempt(row)?));
    rows.iter().map(read).collect()
}

fn row_at(row: &sqlx::sqlite::SqliteRow) -> i64 {
    row.get("at")
}

/// The newest word on an event.
pub(crate) async fn keep(
    connection: &mut SqliteConnection,
    scope: Option<i64>,
    row: &AttemptRow,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT OR REPLACE INTO keylane_tries
            (scope, id, generation, offset, attempts, crashes, started_by, first_us, failure, written_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, (SELECT us FROM keylane_clock))",
    )
    .bind(scope)
    .bind(row.id.as_str())
    .bind(signed(row.generation))
    .bind(signed(row.offset))
    .bind(row.attempts)
    .bind(row.crashes)
    .bind(row.started_by.map(key))
    .bind(row.first_at.as_micros())
    .bind(&row.failure)
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| failed("could not keep a try", error))
}

/// Events that ended.
pub(crate) async fn clear(connection: &mut SqliteConnection, scope: i64, ids: &[&str]) -> Result<(), Error> {
    sqlx::query("DELETE FROM keylane_tries WHERE scope = ?1 AND id IN (SELECT value FROM json_each(?2))")
        .bind(scope)
        .bind(json(ids)?)
        .execute(connection)
        .await
        .map(drop)
        .map_err(|error| failed("could not clear tries", error))
}
