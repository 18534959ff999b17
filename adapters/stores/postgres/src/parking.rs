//! The parking table: dead letters in, out, listed and asked back.

use keylane::broker::Partition;
use keylane::store::{DeadQuery, Parked, ParkedId, ReleaseAnswer, SessionId};
use keylane::{Class, Error, ErrorKind};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::database::{Database, Link};
use crate::numbers::{hash, signed};
use crate::parked_row::{self, FROM};
use crate::{PostgresStore, id};

/// So many released events are told at once; the others later, whether or not these are done by then.
const RELEASED_MAX: i64 = 100;
/// A page of dead letters is no longer.
const PAGE_MAX: usize = 1000;

pub(crate) async fn dead_letters(store: &PostgresStore, query: &DeadQuery) -> Result<Vec<Parked>, Error> {
    let scope = match &query.after {
        Some(after) => Some(store.scopes.number(&store.database, &after.scope).await?),
        None => None,
    };
    let mut link = store.database.work().await?;
    let listed = async {
        link.begin_if_needed().await?;
        let after = match query.after.as_ref().zip(scope) {
            Some((after, scope)) => {
                find(&store.database, &mut link, scope, after).await?.ok_or_else(page_is_gone)?
            }
            None => 0,
        };
        let sql = format!(
            "{FROM} WHERE s.subscription = $1 AND p.reason = 'dead' AND p.place > $2 ORDER BY p.place LIMIT $3"
        );
        let rows = store
            .database
            .sql(&sql)
            .query()
            .bind(&*query.subscription)
            .bind(after)
            .bind(i64::try_from(query.limit.min(PAGE_MAX)).unwrap_or(i64::MAX))
            .fetch_all(&mut *link)
            .await;
        read_all(&mut link, rows)
    };
    let listed = listed.await;
    link.end(listed).await
}

/// P3: a request that the owner executes.
pub(crate) async fn request_release(store: &PostgresStore, id: &ParkedId) -> Result<ReleaseAnswer, Error> {
    let scope = store.scopes.number(&store.database, &id.scope).await?;
    let mut link = store.database.work().await?;
    let requested = async {
        link.begin_if_needed().await?;
        let sql = store.database.sql(
            "UPDATE {keylane}.parked SET requested_at = coalesce(requested_at, clock_timestamp())
             WHERE scope = $1 AND partition = $2 AND generation = $3 AND \"offset\" = $4",
        );
        let done = sql
            .query()
            .bind(scope)
            .bind(i64::from(id.partition))
            .bind(signed(id.generation))
            .bind(signed(id.offset))
            .execute(&mut *link)
            .await;
        let done = done.map_err(|error| link.broke("could not request a release", error))?;
        Ok(if done.rows_affected() > 0 { ReleaseAnswer::Requested } else { ReleaseAnswer::Missing })
    };
    let requested = requested.await;
    link.end(requested).await
}

/// Released events of all partitions that a session owns and of the subscriptions with leases that it serves, page by
/// page: what its owner can't run for now must not keep the others from it.
pub(crate) async fn released_to(
    database: &Database,
    link: &mut Link<'_>,
    session: SessionId,
    leased: &[i32],
) -> Result<Vec<Parked>, Error> {
    let sql = format!(
        "{FROM} WHERE p.requested_at IS NOT NULL
            AND (p.scope = ANY ($3) OR EXISTS (SELECT FROM {{keylane}}.claims c
                WHERE c.scope = p.scope AND c.partition = p.partition AND c.owner = $1))
            AND p.place > (SELECT told_place FROM {{keylane}}.sessions WHERE id = $1)
         ORDER BY p.place LIMIT $2"
    );
    let rows = database
        .sql(&sql)
        .query()
        .bind(session.0)
        .bind(RELEASED_MAX)
        .bind(leased)
        .fetch_all(&mut **link)
        .await;
    let rows = rows.map_err(|error| link.broke("could not read parked events", error))?;
    // A full page may have another behind it; else it begins again.
    let full = rows.len() == RELEASED_MAX.unsigned_abs() as usize;
    let last: i64 = rows.last().filter(|_| full).map_or(0, |row| row.get("place"));
    let sql =
        database.sql("UPDATE {keylane}.sessions SET told_place = $2 WHERE id = $1 AND told_place <> $2");
    let noted = sql.query().bind(session.0).bind(last).execute(&mut **link).await;
    noted.map_err(|error| link.broke("could not note what was told", error))?;
    rows.iter().map(parked_row::read).collect()
}

/// Released events of one partition.
pub(crate) async fn released_of(
    database: &Database,
    link: &mut Link<'_>,
    scope: i32,
    partition: Partition,
) -> Result<Vec<Parked>, Error> {
    let sql = format!(
        "{FROM} WHERE p.scope = $1 AND p.partition = $2 AND p.requested_at IS NOT NULL ORDER BY p.place LIMIT $3"
    );
    let rows = database
        .sql(&sql)
        .query()
        .bind(scope)
        .bind(i64::from(partition))
        .bind(RELEASED_MAX)
        .fetch_all(&mut **link)
        .await;
    read_all(link, rows)
}

/// The row's place in the order of parking; `None` when the event is not parked.
pub(crate) async fn find(
    database: &Database,
    link: &mut Link<'_>,
    scope: i32,
    id: &ParkedId,
) -> Result<Option<i64>, Error> {
    // Locked until the transaction ends: who took it first decides (rule P2).
    let sql = database.sql(
        "SELECT place FROM {keylane}.parked
         WHERE scope = $1 AND partition = $2 AND generation = $3 AND \"offset\" = $4 FOR UPDATE",
    );
    let place = sql
        .scalar()
        .bind(scope)
        .bind(i64::from(id.partition))
        .bind(signed(id.generation))
        .bind(signed(id.offset))
        .fetch_optional(&mut **link)
        .await;
    place.map_err(|error| link.broke("could not read the parking table", error))
}

/// The row at that place, with all its facts.
pub(crate) async fn load(
    database: &Database,
    link: &mut Link<'_>,
    place: i64,
) -> Result<Option<Parked>, Error> {
    let sql = database.sql(&format!("{FROM} WHERE p.place = $1"));
    let row = sql.query().bind(place).fetch_optional(&mut **link).await;
    let row = row.map_err(|error| link.broke("could not read the parking table", error))?;
    row.as_ref().map(parked_row::read).transpose()
}

/// Appends a row; false when its place is taken meanwhile.
pub(crate) async fn insert(
    database: &Database,
    link: &mut Link<'_>,
    scope: i32,
    parked: &Parked,
) -> Result<bool, Error> {
    let (reason, death) = parked_row::reason_names(parked.reason)?;
    let failures = serde_json::to_string(&parked.failures).map_err(|error| {
        Error::new(ErrorKind::Corrupt, "failures can't be written as JSON").with_source(error)
    })?;
    let sql = database.sql(
        "INSERT INTO {keylane}.parked (scope, partition, generation, \"offset\", id, key, kind, sequence,
            payload_hash, reason, death, attempts, crashes, failures, first_us, parked_us, worker, record_key,
            record_headers, record_us, record_id, record_payload)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
            $22) ON CONFLICT (scope, partition, generation, \"offset\") DO NOTHING",
    );
    let done = sql
        .query()
        .bind(scope)
        .bind(i64::from(parked.partition))
        .bind(signed(parked.generation))
        .bind(signed(parked.offset))
        .bind(id::key(&parked.id))
        .bind(&parked.key[..])
        .bind(parked.kind.as_str().as_bytes())
        .bind(parked.sequence.map(signed))
        .bind(hash(parked.payload))
        .bind(reason)
        .bind(death)
        .bind(i64::from(parked.attempts))
        .bind(i64::from(parked.crashes))
        .bind(failures)
        .bind(parked.first_at.as_micros())
        .bind(parked.parked_at.as_micros())
        .bind(&parked.worker)
        .bind(parked.record.key.as_deref())
        .bind(parked.record.headers.to_bytes().to_vec())
        .bind(parked.record.time.map(keylane::env::Timestamp::as_micros))
        .bind(parked.record.id.as_deref().map(str::as_bytes))
        .bind(&parked.record.payload[..])
        .execute(&mut **link)
        .await;
    let done = done.map_err(|error| link.broke("could not park an event", error))?;
    Ok(done.rows_affected() > 0)
}

/// Takes a row out; its run finished, or parks it anew.
pub(crate) async fn remove(database: &Database, link: &mut Link<'_>, place: i64) -> Result<(), Error> {
    let sql = database.sql("DELETE FROM {keylane}.parked WHERE place = $1");
    let gone = sql.query().bind(place).execute(&mut **link).await;
    gone.map(drop).map_err(|error| link.broke("could not take a parked event out", error))
}

fn read_all(link: &mut Link<'_>, rows: Result<Vec<PgRow>, sqlx::Error>) -> Result<Vec<Parked>, Error> {
    let rows = rows.map_err(|error| link.broke("could not read parked events", error))?;
    rows.iter().map(parked_row::read).collect()
}

fn page_is_gone() -> Error {
    let what = "the dead letter after which to list is gone; list again from the first page";
    Error::new(ErrorKind::Store, what).with_class(Class::Permanent)
}
