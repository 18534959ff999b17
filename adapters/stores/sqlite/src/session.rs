//! Sessions: the worker's row, its renewal, its end.

use std::time::Duration;

use keylane::store::{ClaimRef, NewSession, Renewed, Scope, SessionId};
use keylane::{Class, Error, ErrorKind};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use crate::database::Writer;
use crate::error::{failed, is_constraint};
use crate::scope::unsigned;
use crate::{SqliteStore, lease, parking};

/// How long the ids of ended sessions are remembered. They are random and carry their time, so that a
/// repetition is a copied id, and copies don't get that old.
const USED_KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

/// S1: an insert that fails for an id that was ever used.
pub(crate) async fn register(store: &SqliteStore, session: NewSession) -> Result<(), Error> {
    let mut writer = store.database.write().await?;
    match insert(&mut writer, &session).await {
        Ok(()) => Ok(writer.commit().await?),
        Err(error) => {
            writer.rollback().await;
            if is_constraint(&error) {
                let what =
                    format!("session {} was registered before; every start needs a new id", session.id);
                return Err(Error::new(ErrorKind::Store, what).with_class(Class::Permanent));
            }
            Err(failed("could not register a session", error))
        }
    }
}

async fn insert(writer: &mut Writer<'_>, session: &NewSession) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM keylane_used_sessions WHERE used_us < (SELECT us FROM keylane_clock) - ?1")
        .bind(micros(USED_KEEP))
        .execute(&mut **writer)
        .await?;
    sqlx::query("INSERT INTO keylane_used_sessions (id, used_us) SELECT ?1, us FROM keylane_clock")
        .bind(key(session.id))
        .execute(&mut **writer)
        .await?;
    sqlx::query(
        "INSERT INTO keylane_sessions (id, worker, lifetime_us, expires_us)
         SELECT ?1, ?2, ?3, us + ?3 FROM keylane_clock",
    )
    .bind(key(session.id))
    .bind(&session.worker)
    .bind(micros(session.lifetime))
    .execute(&mut **writer)
    .await?;
    Ok(())
}

pub(crate) async fn renew(
    store: &SqliteStore,
    session: SessionId,
    leased: &[Scope],
) -> Result<Renewed, Error> {
    // Ahead of the commits that wait: a worker that is busy must not lose its session for it.
    let mut writer = store.database.write_soon().await?;
    let renewed = async {
        let fence = fence(&mut writer, session).await?;
        let wanted = if fence.wanted { wanted(&mut writer, session).await? } else { Vec::new() };
        let repositioned = repositioned(&mut writer, session).await?;
        let released = match fence.parked {
            true => parking::released_to(store, &mut writer, session, leased).await?,
            false => Vec::new(),
        };
        let contended = if fence.waits { lease::contended(&mut writer, session).await? } else { Vec::new() };
        Ok(Renewed { wanted, repositioned, contended, released })
    };
    let renewed = renewed.await;
    writer.end(renewed).await
}

pub(crate) async fn close(store: &SqliteStore, session: SessionId) -> Result<(), Error> {
    let mut writer = store.database.write().await?;
    let closed = async {
        let gone = sqlx::query("DELETE FROM keylane_sessions WHERE id = ?1")
            .bind(key(session))
            .execute(&mut *writer)
            .await?;
        // Rule T1: a claim that was not given back before was not ended in order.
        if gone.rows_affected() > 0 {
            sqlx::query(
                "UPDATE keylane_claims SET owner = NULL, wanted_by = NULL, wanted_us = NULL, repositioned = 0, clean = 0
                 WHERE owner = ?1",
            )
            .bind(key(session))
            .execute(&mut *writer)
            .await?;
        }
        Ok(())
    };
    let closed = closed.await.map_err(|error| failed("could not close a session", error));
    writer.end(closed).await?;
    // Its leases are free.
    store.database.leases().notify_waiters();
    Ok(())
}

/// What a look at the session's row brought; each flag spares a statement that would find nothing.
pub(crate) struct Fence {
    /// Another wants a claim of this session.
    pub(crate) wanted: bool,
    /// There are attempts, of whatever partition.
    pub(crate) attempts: bool,
    /// There are parked events, of whatever partition.
    pub(crate) parked: bool,
    /// There are tries of leased events, of whatever key.
    pub(crate) tries: bool,
    /// Somebody waits for a lease, of whatever key.
    pub(crate) waits: bool,
    /// The shortest lifetime of a live session: all wait for the one writer, and none may die of it (S3).
    pub(crate) lifetime: Duration,
}

/// S1: the session's row must be there, and is renewed by a plain update: SQLite has one writer, so
/// every commit renews too. Its transaction holds the one write lock, so that nothing can take the
/// session over before it ends.
pub(crate) async fn fence(connection: &mut SqliteConnection, session: SessionId) -> Result<Fence, Error> {
    let row = sqlx::query(
        "UPDATE keylane_sessions SET expires_us = (SELECT us FROM keylane_clock) + lifetime_us WHERE id = ?1
         RETURNING
            EXISTS (SELECT 1 FROM keylane_claims WHERE owner = ?1 AND wanted_by IS NOT NULL) AS wanted,
            EXISTS (SELECT 1 FROM keylane_attempts) AS attempts,
            EXISTS (SELECT 1 FROM keylane_parked) AS parked,
            EXISTS (SELECT 1 FROM keylane_tries) AS tries,
            EXISTS (SELECT 1 FROM keylane_lease_waits) AS waits,
            (SELECT min(s.lifetime_us) FROM keylane_sessions s
             WHERE s.id = ?1 OR s.expires_us > (SELECT us FROM keylane_clock)) AS lifetime_us",
    )
    .bind(key(session))
    .fetch_optional(connection)
    .await
    .map_err(|error| failed("could not renew the session", error))?;
    let row = row.ok_or_else(|| lost(session))?;
    Ok(Fence {
        wanted: row.get("wanted"),
        attempts: row.get("attempts"),
        parked: row.get("parked"),
        tries: row.get("tries"),
        waits: row.get("waits"),
        lifetime: Duration::from_micros(row.get::<i64, _>("lifetime_us").unsigned_abs()),
    })
}

/// S1, without the renewal: for what only reads.
pub(crate) async fn check(connection: &mut SqliteConnection, session: SessionId) -> Result<(), Error> {
    let there: Option<i64> = sqlx::query_scalar("SELECT 1 FROM keylane_sessions WHERE id = ?1")
        .bind(key(session))
        .fetch_optional(connection)
        .await
        .map_err(|error| failed("could not read the session", error))?;
    there.map(drop).ok_or_else(|| lost(session))
}

/// S5: claims of this session that others want.
pub(crate) async fn wanted(
    connection: &mut SqliteConnection,
    session: SessionId,
) -> Result<Vec<ClaimRef>, Error> {
    claims_of(connection, session, "c.wanted_by IS NOT NULL").await
}

/// L2: claims of this session that an operator repositioned.
async fn repositioned(connection: &mut SqliteConnection, session: SessionId) -> Result<Vec<ClaimRef>, Error> {
    claims_of(connection, session, "c.repositioned").await
}

async fn claims_of(
    connection: &mut SqliteConnection,
    session: SessionId,
    which: &'static str,
) -> Result<Vec<ClaimRef>, Error> {
    let sql = format!(
        "SELECT s.subscription, s.broker, s.source, c.partition, c.epoch
         FROM keylane_claims c JOIN keylane_scopes s ON s.id = c.scope
         WHERE c.owner = ?1 AND {which} ORDER BY c.scope, c.partition"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(key(session)).fetch_all(connection).await;
    let rows = rows.map_err(|error| failed("could not read the session's claims", error))?;
    let claims = rows.iter().map(|row| ClaimRef {
        scope: Scope {
            subscription: row.get::<String, _>("subscription").into(),
            broker: row.get::<String, _>("broker").into(),
            source: row.get::<String, _>("source").into(),
        },
        partition: row.get("partition"),
        epoch: unsigned(row.get("epoch")),
    });
    Ok(claims.collect())
}

/// A session id as its sixteen bytes.
pub(crate) fn key(session: SessionId) -> Vec<u8> {
    session.0.as_bytes().to_vec()
}

pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn lost(session: SessionId) -> Error {
    let what = format!("session {session} is not in the store; it was closed or taken over");
    Error::new(ErrorKind::SessionLost, what)
}
