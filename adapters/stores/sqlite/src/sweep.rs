//! Retention: ledger generations are opened, closed and dropped.

use std::time::Duration;

use keylane::Error;
use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::error::failed;
use crate::session::micros;
use crate::{SqliteStore, ledger};

/// A keep time is spread over so many generations: rows live at most this part longer than asked, and
/// a look reads about this many tables.
const GENERATIONS: u32 = 4;

pub(crate) async fn sweep(store: &SqliteStore, subscription: &str, keep: Duration) -> Result<u64, Error> {
    let mut writer = store.database.write().await?;
    let swept = async {
        rotate(&mut writer, subscription, keep / GENERATIONS).await?;
        forget_left_behind(&mut writer, subscription, keep).await?;
        drop_old(&mut writer, subscription, keep).await
    };
    let swept = swept.await;
    writer.end(swept).await
}

/// Closes the open generation when it is old enough, as of the subscription's last commit: no row of
/// it is younger. Where keys are leased, no claim's row tells when that was, and it is closed as of now. The
/// next one opens in the same transaction, so that commits always find one.
async fn rotate(connection: &mut SqliteConnection, subscription: &str, age: Duration) -> Result<(), Error> {
    let closed = sqlx::query(
        "UPDATE keylane_ledgers SET closed_us = max(opened_us, coalesce(
            (SELECT us FROM keylane_clock
             WHERE EXISTS (SELECT 1 FROM keylane_scopes WHERE subscription = ?1 AND leased)),
            (SELECT max(c.written_us) FROM keylane_claims c JOIN keylane_scopes s ON s.id = c.scope
             WHERE s.subscription = ?1), 0))
         WHERE subscription = ?1 AND closed_us IS NULL AND opened_us <= (SELECT us FROM keylane_clock) - ?2",
    )
    .bind(subscription)
    .bind(micros(age))
    .execute(&mut *connection)
    .await
    .map_err(|error| failed("could not close a ledger generation", error))?;
    if closed.rows_affected() > 0 {
        ledger::open(connection, subscription).await?;
    }
    Ok(())
}

/// What sessions that are gone left behind, and nobody came back to for so long. The broker would have handed it
/// over again by then.
async fn forget_left_behind(
    connection: &mut SqliteConnection,
    subscription: &str,
    keep: Duration,
) -> Result<(), Error> {
    for (sql, what) in [
        (
            "DELETE FROM keylane_sessions WHERE ?1 IS NOT NULL AND expires_us <= (SELECT us FROM keylane_clock) - ?2",
            "sessions",
        ),
        (
            "DELETE FROM keylane_leases AS l
             WHERE scope IN (SELECT id FROM keylane_scopes WHERE subscription = ?1)
                AND granted_us <= (SELECT us FROM keylane_clock) - ?2
                AND NOT EXISTS (SELECT 1 FROM keylane_sessions s WHERE s.id = l.owner)
                AND NOT EXISTS (SELECT 1 FROM keylane_lease_waits w WHERE w.scope = l.scope AND w.key = l.key)",
            "leases",
        ),
        (
            "DELETE FROM keylane_tries WHERE scope IN (SELECT id FROM keylane_scopes WHERE subscription = ?1)
                AND written_us <= (SELECT us FROM keylane_clock) - ?2",
            "tries",
        ),
    ] {
        let gone = sqlx::query(sql).bind(subscription).bind(micros(keep)).execute(&mut *connection).await;
        gone.map_err(|error| failed(format!("could not forget old {what}"), error))?;
    }
    Ok(())
}

async fn drop_old(
    connection: &mut SqliteConnection,
    subscription: &str,
    keep: Duration,
) -> Result<u64, Error> {
    let old: Vec<i64> = sqlx::query_scalar(
        "DELETE FROM keylane_ledgers
         WHERE subscription = ?1 AND closed_us <= (SELECT us FROM keylane_clock) - ?2 RETURNING id",
    )
    .bind(subscription)
    .bind(micros(keep))
    .fetch_all(&mut *connection)
    .await
    .map_err(|error| failed("could not drop a ledger generation", error))?;
    for generation in &old {
        let table = ledger::table(*generation);
        let dropped = sqlx::query(AssertSqlSafe(format!("DROP TABLE {table}")))
            .persistent(false)
            .execute(&mut *connection);
        dropped.await.map_err(|error| failed("could not drop a ledger generation", error))?;
    }
    Ok(old.len() as u64)
}
