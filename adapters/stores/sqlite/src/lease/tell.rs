//! Who is told what of leases: owners what others wait for, who waits what is free.

use std::time::Duration;

use keylane::Error;
use keylane::store::{LeaseKey, LeaseRef, SessionId};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{COLUMNS, Held, lease_key, lease_ref};
use crate::SqliteStore;
use crate::error::failed;
use crate::ledger::json;
use crate::session::key;

/// How long one question for what is free may wait.
const FREED_WAIT: Duration = Duration::from_secs(1);
/// How often who waits looks what other processes gave back, and what time freed: they wake nobody here.
const LOOK_EVERY: Duration = Duration::from_millis(75);

/// Waits until something that the session waits for may be had. Who gives back in this process wakes it; it looks
/// for others only while it waits for something.
pub(crate) async fn freed(store: &SqliteStore, session: SessionId) -> Result<Vec<LeaseKey>, Error> {
    let deadline = store.env.now() + FREED_WAIT;
    loop {
        let changed = store.database.leases().notified();
        let mut changed = std::pin::pin!(changed);
        // Enabled before the look, so that what is freed after it is not missed.
        changed.as_mut().enable();
        let mut reader = store.database.read().await?;
        let waits = waits(&mut reader, session).await?;
        let free = if waits { free(&mut reader, session).await? } else { Vec::new() };
        drop(reader);
        let left = deadline.since(store.env.now());
        if !free.is_empty() || left.is_zero() {
            return Ok(free);
        }
        let pause = if waits { left.min(LOOK_EVERY) } else { left };
        drop(store.env.timeout("a lease", pause, changed).await);
    }
}

async fn waits(connection: &mut SqliteConnection, session: SessionId) -> Result<bool, Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM keylane_lease_waits WHERE session = ?1)")
        .bind(key(session))
        .fetch_one(connection)
        .await
        .map_err(|error| failed("could not read what the session waits for", error))
}

/// Given back and kept for this session or, in time, for nobody; or its owner is dead.
async fn free(connection: &mut SqliteConnection, session: SessionId) -> Result<Vec<LeaseKey>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} JOIN keylane_lease_waits w ON w.scope = l.scope AND w.key = l.key
            CROSS JOIN keylane_clock clock
            LEFT JOIN keylane_sessions o ON o.id = l.owner LEFT JOIN keylane_sessions k ON k.id = l.kept_for
         WHERE w.session = ?1 AND CASE WHEN l.owner IS NOT NULL
            THEN o.id IS NULL OR o.expires_us <= clock.us
            ELSE l.kept_for IS NULL OR l.kept_for = ?1 OR l.kept_until_us <= clock.us
                OR k.id IS NULL OR k.expires_us <= clock.us END
         ORDER BY w.place"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(key(session)).fetch_all(connection).await;
    let rows = rows.map_err(|error| failed("could not read what is free", error))?;
    Ok(rows.iter().map(lease_key).collect())
}

/// The leases that the session holds.
pub(crate) async fn of_session(store: &SqliteStore, session: SessionId) -> Result<Vec<LeaseRef>, Error> {
    let mut reader = store.database.read().await?;
    let sql = format!(
        "SELECT {COLUMNS} WHERE l.owner = ?1 AND EXISTS (SELECT 1 FROM keylane_sessions WHERE id = ?1)"
    );
    read(sqlx::query(AssertSqlSafe(sql)).bind(key(session)).fetch_all(&mut *reader).await)
}

/// S9: leases of the session that others wait for.
pub(crate) async fn contended(
    connection: &mut SqliteConnection,
    session: SessionId,
) -> Result<Vec<LeaseRef>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} WHERE l.owner = ?1
            AND EXISTS (SELECT 1 FROM keylane_lease_waits w WHERE w.scope = l.scope AND w.key = l.key)"
    );
    read(sqlx::query(AssertSqlSafe(sql)).bind(key(session)).fetch_all(connection).await)
}

fn read(rows: Result<Vec<SqliteRow>, sqlx::Error>) -> Result<Vec<LeaseRef>, Error> {
    let rows = rows.map_err(|error| failed("could not read the session's leases", error))?;
    Ok(rows.iter().map(lease_ref).collect())
}

/// The numbers of those among a commit's leases that others wait for.
pub(crate) async fn contended_among(
    connection: &mut SqliteConnection,
    leases: &[Held],
) -> Result<Vec<usize>, Error> {
    let contended: Result<Vec<i64>, _> = sqlx::query_scalar(
        "SELECT e.value ->> 3 FROM json_each(?1) e WHERE EXISTS (SELECT 1 FROM keylane_lease_waits w
            WHERE w.scope = e.value ->> 0 AND w.key = unhex(e.value ->> 1))",
    )
    .bind(json(leases)?)
    .fetch_all(connection)
    .await;
    let contended = contended.map_err(|error| failed("could not read who waits for leases", error))?;
    Ok(contended.into_iter().map(|at| usize::try_from(at).unwrap_or(usize::MAX)).collect())
}
