//! The parking table: dead letters in, out, listed and asked back.

use keylane::store::{DeadQuery, Parked, ParkedId, ReleaseAnswer, Scope, SessionId};
use keylane::{Class, Error, ErrorKind};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::SqliteStore;
use crate::error::failed;
use crate::ledger::json;
use crate::parked_row::{self, COLUMNS};
use crate::scope::signed;
use crate::session::key;

/// So many released events are told at once; the others later, whether or not these are done by then.
const RELEASED_MAX: i64 = 100;
/// How far the session was told.
const TOLD: &str = "(SELECT told_place FROM keylane_sessions WHERE id = ?1)";
/// A page of dead letters is no longer.
const PAGE_MAX: usize = 1000;

pub(crate) async fn dead_letters(store: &SqliteStore, query: &DeadQuery) -> Result<Vec<Parked>, Error> {
    let mut reader = store.database.read().await?;
    let after = match &query.after {
        Some(id) => place_of(store, &mut reader, id).await?,
        None => 0,
    };
    let sql = format!(
        "SELECT {COLUMNS} WHERE s.subscription = ?1 AND p.reason = 'dead' AND p.place > ?2 ORDER BY p.place LIMIT ?3"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(&*query.subscription)
        .bind(after)
        .bind(i64::try_from(query.limit.min(PAGE_MAX)).unwrap_or(i64::MAX))
        .fetch_all(&mut *reader)
        .await;
    read_all(rows)
}

async fn place_of(
    store: &SqliteStore,
    connection: &mut SqliteConnection,
    id: &ParkedId,
) -> Result<i64, Error> {
    let place = find(store, connection, id).await?;
    place.ok_or_else(|| {
        let what = "the dead letter after which to list is gone; list again from the first page";
        Error::new(ErrorKind::Store, what).with_class(Class::Permanent)
    })
}

/// P3: a request that the owner executes.
pub(crate) async fn request_release(store: &SqliteStore, id: &ParkedId) -> Result<ReleaseAnswer, Error> {
    let mut writer = store.database.write().await?;
    let requested = async {
        let Some(place) = find(store, &mut writer, id).await? else { return Ok(ReleaseAnswer::Missing) };
        sqlx::query(
            "UPDATE keylane_parked SET requested_us = coalesce(requested_us, (SELECT us FROM keylane_clock))
             WHERE place = ?1",
        )
        .bind(place)
        .execute(&mut *writer)
        .await
        .map_err(|error| failed("could not request a release", error))?;
        Ok(ReleaseAnswer::Requested)
    };
    let requested = requested.await;
    writer.end(requested).await
}

/// Released events of all partitions that a session owns and of the scopes whose keys it leases, page by page: what
/// can't be run for now must not keep the others from it.
pub(crate) async fn released_to(
    store: &SqliteStore,
    connection: &mut SqliteConnection,
    session: SessionId,
    leased: &[Scope],
) -> Result<Vec<Parked>, Error> {
    let mut scopes = Vec::with_capacity(leased.len());
    for scope in leased {
        scopes.extend(store.scopes.number(connection, scope).await?);
    }
    let sql = format!(
        "SELECT {COLUMNS} WHERE p.place IN (
            SELECT place FROM keylane_claims c JOIN keylane_parked r ON r.scope = c.scope AND r.partition = c.partition
            WHERE c.owner = ?1 AND r.requested_us IS NOT NULL AND place > {TOLD}
            UNION
            SELECT place FROM keylane_parked
            WHERE scope IN (SELECT value FROM json_each(?3)) AND requested_us IS NOT NULL AND place > {TOLD}
            ORDER BY place LIMIT ?2)
         ORDER BY p.place"
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(key(session)).bind(RELEASED_MAX).bind(json(&scopes)?);
    let released = read_all(query.fetch_all(&mut *connection).await)?;
    // A full page may have another behind it; else it begins again.
    let last = released.last().filter(|_| released.len() == RELEASED_MAX.unsigned_abs() as usize);
    sqlx::query(
        "UPDATE keylane_sessions SET told_place = coalesce((SELECT p.place FROM keylane_parked p
            JOIN keylane_scopes s ON s.id = p.scope
            WHERE s.subscription = ?2 AND s.broker = ?3 AND s.source = ?4
                AND p.partition = ?5 AND p.generation = ?6 AND p.offset = ?7), 0)
         WHERE id = ?1",
    )
    .bind(key(session))
    .bind(last.map(|parked| parked.scope.subscription.to_string()))
    .bind(last.map(|parked| parked.scope.broker.to_string()))
    .bind(last.map(|parked| parked.scope.source.to_string()))
    .bind(last.map(|parked| parked.partition))
    .bind(last.map(|parked| signed(parked.generation)))
    .bind(last.map(|parked| signed(parked.offset)))
    .execute(connection)
    .await
    .map_err(|error| failed("could not note what was told", error))?;
    Ok(released)
}

/// Released events of one partition.
pub(crate) async fn released_of(
    connection: &mut SqliteConnection,
    scope: i64,
    partition: u32,
) -> Result<Vec<Parked>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} WHERE p.scope = ?1 AND p.partition = ?2 AND p.requested_us IS NOT NULL
         ORDER BY p.place LIMIT ?3"
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(scope).bind(partition).bind(RELEASED_MAX);
    read_all(query.fetch_all(connection).await)
}

fn read_all(rows: Result<Vec<SqliteRow>, sqlx::Error>) -> Result<Vec<Parked>, Error> {
    let rows = rows.map_err(|error| failed("could not read parked events", error))?;
    rows.iter().map(parked_row::read).collect()
}

/// The row's place in the order of parking; `None` when the event is not parked.
pub(crate) async fn find(
    store: &SqliteStore,
    connection: &mut SqliteConnection,
    id: &ParkedId,
) -> Result<Option<i64>, Error> {
    let Some(scope) = store.scopes.number(connection, &id.scope).await? else { return Ok(None) };
    sqlx::query_scalar(
        "SELECT place FROM keylane_parked
         WHERE scope = ?1 AND partition = ?2 AND generation = ?3 AND offset = ?4",
    )
    .bind(scope)
    .bind(id.partition)
    .bind(signed(id.generation))
    .bind(signed(id.offset))
    .fetch_optional(connection)
    .await
    .map_err(|error| failed("could not read the parking table", error))
}

/// The row at that place, with all its facts.
pub(crate) async fn load(connection: &mut SqliteConnection, place: i64) -> Result<Option<Parked>, Error> {
    let sql = format!("SELECT {COLUMNS} WHERE p.place = ?1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(place).fetch_optional(connection).await;
    let row = row.map_err(|error| failed("could not read the parking table", error))?;
    row.as_ref().map(parked_row::read).transpose()
}

pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    scope: i64,
    parked: &Parked,
) -> Result<(), Error> {
    let (reason, death) = parked_row::reason_names(parked.reason)?;
    sqlx::query(
        "INSERT INTO keylane_parked (scope, partition, generation, offset, id, key, kind, sequence, payload_hash,
            reason, death, attempts, crashes, failures, first_us, parked_us, worker, record_key, record_headers,
            record_us, record_id, record_payload)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
            ?22)",
    )
    .bind(scope)
    .bind(parked.partition)
    .bind(signed(parked.generation))
    .bind(signed(parked.offset))
    .bind(parked.id.as_str())
    .bind(&parked.key[..])
    .bind(parked.kind.as_str())
    .bind(parked.sequence.map(signed))
    .bind(&parked.payload.0[..])
    .bind(reason)
    .bind(death)
    .bind(parked.attempts)
    .bind(parked.crashes)
    .bind(json(&parked.failures)?)
    .bind(parked.first_at.as_micros())
    .bind(parked.parked_at.as_micros())
    .bind(&parked.worker)
    .bind(parked.record.key.as_deref())
    .bind(parked.record.headers.to_bytes())
    .bind(parked.record.time.map(keylane::env::Timestamp::as_micros))
    .bind(parked.record.id.as_deref())
    .bind(&parked.record.payload[..])
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| failed("could not park an event", error))
}

/// Takes a row out; its run finished, or parks it anew.
pub(crate) async fn remove(connection: &mut SqliteConnection, place: i64) -> Result<(), Error> {
    let gone =
        sqlx::query("DELETE FROM keylane_parked WHERE place = ?1").bind(place).execute(connection).await;
    gone.map(drop).map_err(|error| failed("could not take a parked event out", error))
}
