//! Claims: a partition changes hands, and its epoch grows.

use keylane::broker::Partition;
use keylane::env::Timestamp;
use keylane::store::{
    AttemptRow, Claim, ClaimAnswer, ClaimRef, ClaimRequest, Position, ReadFrom, Reposition, SessionId,
    Witness,
};
use keylane::{Error, ErrorKind};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::database::{Database, Link};
use crate::numbers::{micros, partition, signed, small, unsigned};
use crate::{PostgresStore, id, parking};

pub(crate) async fn claim(store: &PostgresStore, request: &ClaimRequest) -> Result<ClaimAnswer, Error> {
    let scope = store.scopes.number(&store.database, &request.scope).await?;
    let mut link = store.database.work().await?;
    let answer = async {
        link.begin().await?;
        answer(&store.database, &mut link, request, scope).await
    };
    let answer = answer.await;
    link.end(answer).await
}

async fn answer(
    database: &Database,
    link: &mut Link<'_>,
    request: &ClaimRequest,
    scope: i32,
) -> Result<ClaimAnswer, Error> {
    let sql = database.sql("SELECT * FROM {keylane}.claim($1, $2, $3, $4)");
    let row = sql
        .query()
        .bind(request.session.0)
        .bind(scope)
        .bind(i64::from(request.partition))
        .bind(micros(request.handover_limit))
        .fetch_one(&mut **link)
        .await;
    let row = row.map_err(|error| link.broke("could not claim a partition", error))?;
    if !row.get::<bool, _>("granted") {
        return Ok(ClaimAnswer::Wanted { owner: row.get("owner_name") });
    }
    let unclean = row.get("was_unclean");
    // A2: all of it is read after the epoch was raised.
    let granted = granted(database, link, request, scope, unclean).await?;
    Ok(ClaimAnswer::Granted(Box::new(granted)))
}

async fn granted(
    database: &Database,
    link: &mut Link<'_>,
    request: &ClaimRequest,
    scope: i32,
    unclean: bool,
) -> Result<Claim, Error> {
    let sql = database.sql("SELECT * FROM {keylane}.claims WHERE scope = $1 AND partition = $2");
    let row = sql.query().bind(scope).bind(i64::from(request.partition)).fetch_one(&mut **link).await;
    let row = row.map_err(|error| link.broke("could not read a claim", error))?;
    Ok(Claim {
        claim: ClaimRef {
            scope: request.scope.clone(),
            partition: request.partition,
            epoch: unsigned(row.get("epoch")),
        },
        position: position(&row)?,
        read_from: read_from(&row)?,
        generation: unsigned(row.get("generation")),
        unclean,
        attempts: attempts(database, link, scope, request.partition).await?,
        released: parking::released_of(database, link, scope, request.partition).await?,
    })
}

/// Gives claims back; a session that is gone gives nothing back, what it left is as unclean as it was.
pub(crate) async fn release(
    store: &PostgresStore,
    session: SessionId,
    claims: &[ClaimRef],
    clean: bool,
) -> Result<(), Error> {
    // C7
    let mut claims: Vec<&ClaimRef> = claims.iter().collect();
    claims.sort();
    let scopes = store.scopes.numbers(&store.database, claims.iter().map(|claim| &claim.scope)).await?;
    let mut link = store.database.work().await?;
    let released = async {
        link.begin().await?;
        for (claim, scope) in claims.iter().zip(scopes) {
            let sql = store.database.sql(
                "UPDATE {keylane}.claims
                 SET owner = NULL, wanted_by = NULL, wanted_at = NULL, repositioned = false, clean = $1
                 WHERE scope = $2 AND partition = $3 AND owner = $4
                    -- Also by the name it had before an operator raised its epoch (L2).
                    AND (epoch = $5 OR repositioned AND epoch > $5)
                    AND EXISTS (SELECT FROM {keylane}.sessions WHERE id = $4 FOR KEY SHARE)",
            );
            let done = sql
                .query()
                .bind(clean)
                .bind(scope)
                .bind(i64::from(claim.partition))
                .bind(session.0)
                .bind(signed(claim.epoch))
                .execute(&mut *link)
                .await;
            done.map_err(|error| link.broke("could not release a claim", error))?;
        }
        Ok(())
    };
    let released = released.await;
    link.end(released).await
}

/// L2: a new generation, in one transaction. Its owner, if there is one, stays, so that nobody else begins while
/// something of it may run; the raised epoch excludes that from every commit.
pub(crate) async fn reposition(store: &PostgresStore, order: &Reposition) -> Result<Vec<Partition>, Error> {
    let scope = store.scopes.number(&store.database, &order.scope).await?;
    let mut link = store.database.work().await?;
    let repositioned = async {
        link.begin().await?;
        let found = forget_position(&store.database, &mut link, scope, order).await?;
        let sql =
            "DELETE FROM {keylane}.attempts WHERE scope = $1 AND ($2::bigint IS NULL OR partition = $2)";
        let done = store
            .database
            .sql(sql)
            .query()
            .bind(scope)
            .bind(order.partition.map(i64::from))
            .execute(&mut *link)
            .await;
        done.map_err(|error| link.broke("could not forget attempts", error))?;
        Ok(found)
    };
    let repositioned = repositioned.await;
    link.end(repositioned).await
}

async fn forget_position(
    database: &Database,
    link: &mut Link<'_>,
    scope: i32,
    order: &Reposition,
) -> Result<Vec<Partition>, Error> {
    let (name, offset) = match order.to {
        ReadFrom::Earliest => ("earliest", None),
        ReadFrom::Latest => ("latest", None),
        ReadFrom::Offset(offset) => ("offset", Some(signed(offset))),
    };
    let sql = database.sql(
        "UPDATE {keylane}.claims c
         SET epoch = epoch + 1, generation = generation + 1, base = NULL, sparse = NULL, identity = NULL,
            witness_offset = NULL, witness_us = NULL, witness_hash = NULL, version = version + 1,
            read_from = $3, read_offset = $4, repositioned = owner IS NOT NULL
         FROM (SELECT scope, partition FROM {keylane}.claims
            WHERE scope = $1 AND ($2::bigint IS NULL OR partition = $2)
            ORDER BY partition FOR UPDATE) sorted
         WHERE c.scope = sorted.scope AND c.partition = sorted.partition RETURNING c.partition",
    );
    let found: Result<Vec<i64>, _> = sql
        .scalar()
        .bind(scope)
        .bind(order.partition.map(i64::from))
        .bind(name)
        .bind(offset)
        .fetch_all(&mut **link)
        .await;
    let found = found.map_err(|error| link.broke("could not reposition a partition", error))?;
    let mut found = found.into_iter().map(partition).collect::<Result<Vec<_>, _>>()?;
    found.sort_unstable();
    Ok(found)
}

/// L2: the claim's row is the position.
fn position(row: &PgRow) -> Result<Option<Position>, Error> {
    let (base, offset): (Option<i64>, Option<i64>) = (row.get("base"), row.get("witness_offset"));
    let Some(base) = base else { return Ok(None) };
    Ok(Some(Position {
        base: unsigned(base),
        sparse: row.get::<Option<Vec<u8>>, _>("sparse").unwrap_or_default(),
        identity: row.get::<Option<Vec<u8>>, _>("identity").map(id::text).transpose()?,
        witness: offset.map(|offset| Witness {
            offset: unsigned(offset),
            time: row.get::<Option<i64>, _>("witness_us").map(Timestamp::from_micros),
            hash: unsigned(row.get::<Option<i64>, _>("witness_hash").unwrap_or_default()),
        }),
        partitions: small(row.get("partitions"))?,
    }))
}

/// L2: what an operator ordered, until a position was written.
fn read_from(row: &PgRow) -> Result<Option<ReadFrom>, Error> {
    let (base, name): (Option<i64>, Option<String>) = (row.get("base"), row.get("read_from"));
    let offset: Option<i64> = row.get("read_offset");
    match (base, name.as_deref(), offset) {
        (Some(_), ..) | (None, None, _) => Ok(None),
        (None, Some("earliest"), _) => Ok(Some(ReadFrom::Earliest)),
        (None, Some("latest"), _) => Ok(Some(ReadFrom::Latest)),
        (None, Some("offset"), Some(offset)) => Ok(Some(ReadFrom::Offset(unsigned(offset)))),
        (None, Some(name), _) => {
            let what = format!("a claim is to be read from {name:?}, which this release does not know");
            Err(Error::new(ErrorKind::Corrupt, what))
        }
    }
}

/// Events of a partition that were tried and are not finished.
pub(crate) async fn attempts(
    database: &Database,
    link: &mut Link<'_>,
    scope: i32,
    partition: Partition,
) -> Result<Vec<AttemptRow>, Error> {
    let sql = database.sql(
        "SELECT * FROM {keylane}.attempts WHERE scope = $1 AND partition = $2 ORDER BY generation, \"offset\"",
    );
    let rows = sql.query().bind(scope).bind(i64::from(partition)).fetch_all(&mut **link).await;
    let rows = rows.map_err(|error| link.broke("could not read attempts", error))?;
    rows.iter().map(attempt).collect()
}

/// A row of `attempts` or `tries`.
pub(crate) fn attempt(row: &PgRow) -> Result<AttemptRow, Error> {
    Ok(AttemptRow {
        generation: unsigned(row.get("generation")),
        offset: unsigned(row.get("offset")),
        id: id::id(row.get("id"))?,
        attempts: small(row.get("attempts"))?,
        crashes: small(row.get("crashes"))?,
        started_by: row.get::<Option<Uuid>, _>("started_by").map(SessionId),
        first_at: Timestamp::from_micros(row.get("first_us")),
        failure: id::text(row.get("failure"))?.to_string(),
    })
}
