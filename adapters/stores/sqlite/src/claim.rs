//! Claims: a partition changes hands, and its epoch grows.

use keylane::broker::Partition;
use keylane::env::Timestamp;
use keylane::store::{
    AttemptRow, Claim, ClaimAnswer, ClaimRef, ClaimRequest, Position, ReadFrom, Reposition, SessionId,
    Witness,
};
use keylane::text::Text;
use keylane::{Error, ErrorKind};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::scope::{intern, signed, unsigned};
use crate::session::{check, key, micros};
use crate::{SqliteStore, error::failed, ledger, parking};

pub(crate) async fn claim(store: &SqliteStore, request: ClaimRequest) -> Result<ClaimAnswer, Error> {
    let mut writer = store.database.write().await?;
    let answer = answer(&mut writer, &request).await;
    writer.end(answer).await
}

pub(crate) async fn release(
    store: &SqliteStore,
    session: SessionId,
    claims: &[ClaimRef],
    clean: bool,
) -> Result<(), Error> {
    let mut writer = store.database.write().await?;
    let released = async {
        for claim in claims {
            if let Some(scope) = store.scopes.number(&mut writer, &claim.scope).await? {
                let_go(&mut writer, session, scope, claim, clean).await?;
            }
        }
        Ok(())
    };
    let released = released.await;
    writer.end(released).await
}

/// L2: a new generation, in one transaction. Its owner, if there is one, stays, so that nobody else begins
/// while something of it may run; the raised epoch excludes that from every commit.
pub(crate) async fn reposition(store: &SqliteStore, order: &Reposition) -> Result<Vec<Partition>, Error> {
    let mut writer = store.database.write().await?;
    let repositioned = async {
        let Some(scope) = store.scopes.number(&mut writer, &order.scope).await? else {
            return Ok(Vec::new());
        };
        let found = forget_position(&mut writer, scope, order).await?;
        forget_attempts(&mut writer, scope, order.partition).await?;
        Ok(found)
    };
    let repositioned = repositioned.await;
    writer.end(repositioned).await
}

async fn forget_position(
    connection: &mut SqliteConnection,
    scope: i64,
    order: &Reposition,
) -> Result<Vec<Partition>, Error> {
    let (name, offset) = match order.to {
        ReadFrom::Earliest => ("earliest", None),
        ReadFrom::Latest => ("latest", None),
        ReadFrom::Offset(offset) => ("offset", Some(signed(offset))),
    };
    let found: Result<Vec<Partition>, _> = sqlx::query_scalar(
        "UPDATE keylane_claims
         SET epoch = epoch + 1, generation = generation + 1, base = NULL, sparse = NULL, identity = NULL,
            witness_offset = NULL, witness_us = NULL, witness_hash = NULL,
            read_from = ?3, read_offset = ?4, repositioned = owner IS NOT NULL
         WHERE scope = ?1 AND (?2 IS NULL OR partition = ?2) RETURNING partition",
    )
    .bind(scope)
    .bind(order.partition)
    .bind(name)
    .bind(offset)
    .fetch_all(connection)
    .await;
    let mut found = found.map_err(|error| failed("could not reposition a partition", error))?;
    found.sort_unstable();
    Ok(found)
}

async fn forget_attempts(
    connection: &mut SqliteConnection,
    scope: i64,
    partition: Option<Partition>,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM keylane_attempts WHERE scope = ?1 AND (?2 IS NULL OR partition = ?2)")
        .bind(scope)
        .bind(partition)
        .execute(connection)
        .await
        .map(drop)
        .map_err(|error| failed("could not forget attempts", error))
}

async fn let_go(
    connection: &mut SqliteConnection,
    session: SessionId,
    scope: i64,
    claim: &ClaimRef,
    clean: bool,
) -> Result<(), Error> {
    // A session that is gone gives nothing back: what it left is as unclean as it was.
    sqlx::query(
        "UPDATE keylane_claims
         SET owner = NULL, wanted_by = NULL, wanted_us = NULL, repositioned = 0, clean = ?1
         WHERE scope = ?2 AND partition = ?3 AND owner = ?4
            -- Also by the name it had before an operator raised its epoch (L2).
            AND (epoch = ?5 OR repositioned AND epoch > ?5)
            AND EXISTS (SELECT 1 FROM keylane_sessions WHERE id = ?4)",
    )
    .bind(clean)
    .bind(scope)
    .bind(claim.partition)
    .bind(key(session))
    .bind(signed(claim.epoch))
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| failed("could not release a claim", error))
}

async fn answer(connection: &mut SqliteConnection, request: &ClaimRequest) -> Result<ClaimAnswer, Error> {
    check(connection, request.session).await?;
    let scope = intern(connection, &request.scope).await?;
    ledger::open(connection, &request.scope.subscription).await?;
    let unclean = match read_tenure(connection, request, scope).await? {
        Tenure::Free { unclean } => unclean,
        Tenure::Dead { owner } => {
            take_over(connection, &owner).await?;
            true
        }
        Tenure::Alive { worker } => {
            mark_wanted(connection, request, scope).await?;
            return Ok(ClaimAnswer::Wanted { owner: worker });
        }
    };
    grant(connection, request, scope, unclean).await.map(|claim| ClaimAnswer::Granted(Box::new(claim)))
}

/// How a partition stands to the one who asks for it.
enum Tenure {
    /// Nobody's, one's own, or long enough wanted of somebody alive.
    Free { unclean: bool },
    /// Its owner's session has expired and must be deleted first.
    Dead { owner: Vec<u8> },
    /// Somebody else's.
    Alive { worker: String },
}

async fn read_tenure(
    connection: &mut SqliteConnection,
    request: &ClaimRequest,
    scope: i64,
) -> Result<Tenure, Error> {
    // S4: the database's clock decides both, what expired and what was wanted for long enough.
    let row = sqlx::query(
        "SELECT c.owner, c.clean, s.worker,
            s.expires_us <= clock.us AS expired,
            c.wanted_us <= clock.us - ?3 AS overdue
         FROM keylane_clock clock, keylane_claims c LEFT JOIN keylane_sessions s ON s.id = c.owner
         WHERE c.scope = ?1 AND c.partition = ?2",
    )
    .bind(scope)
    .bind(request.partition)
    .bind(micros(request.handover_limit))
    .fetch_optional(connection)
    .await
    .map_err(|error| failed("could not read a claim", error))?;
    let Some(row) = row else { return Ok(Tenure::Free { unclean: false }) };
    let Some(owner) = row.get::<Option<Vec<u8>>, _>("owner") else {
        return Ok(Tenure::Free { unclean: !row.get::<bool, _>("clean") });
    };
    let Some(worker) = row.get::<Option<String>, _>("worker") else {
        // Its session was taken over for another of its claims.
        return Ok(Tenure::Free { unclean: true });
    };
    if owner == key(request.session) {
        // T1: one's own, which had begun what it did not release.
        return Ok(Tenure::Free { unclean: true });
    }
    if row.get("expired") {
        return Ok(Tenure::Dead { owner });
    }
    if row.get::<Option<bool>, _>("overdue").unwrap_or(false) {
        return Ok(Tenure::Free { unclean: true });
    }
    Ok(Tenure::Alive { worker })
}

/// S1: one conditional delete, in the transaction that raises the epoch: it defeats every commit of the
/// dead session that is still on its way.
async fn take_over(connection: &mut SqliteConnection, owner: &[u8]) -> Result<(), Error> {
    let gone = sqlx::query(
        "DELETE FROM keylane_sessions WHERE id = ?1 AND expires_us <= (SELECT us FROM keylane_clock)",
    )
    .bind(owner)
    .execute(connection)
    .await
    .map_err(|error| failed("could not take over a dead session", error))?;
    if gone.rows_affected() == 1 {
        return Ok(());
    }
    // Only a clock that was set back in between does this.
    Err(Error::new(ErrorKind::Store, "a session that had expired has not any more; ask again"))
}

/// S5: the first step of a hand-over. The time of the first question counts.
async fn mark_wanted(
    connection: &mut SqliteConnection,
    request: &ClaimRequest,
    scope: i64,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE keylane_claims
         SET wanted_by = ?3, wanted_us = coalesce(wanted_us, (SELECT us FROM keylane_clock))
         WHERE scope = ?1 AND partition = ?2",
    )
    .bind(scope)
    .bind(request.partition)
    .bind(key(request.session))
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| failed("could not mark a claim as wanted", error))
}

async fn grant(
    connection: &mut SqliteConnection,
    request: &ClaimRequest,
    scope: i64,
    unclean: bool,
) -> Result<Claim, Error> {
    let row = sqlx::query(
        "INSERT INTO keylane_claims (scope, partition, epoch, owner, clean) VALUES (?1, ?2, 1, ?3, 0)
         ON CONFLICT DO UPDATE
         SET epoch = epoch + 1, owner = ?3, wanted_by = NULL, wanted_us = NULL, repositioned = 0, clean = 0
         RETURNING epoch, generation, read_from, read_offset, base, sparse, identity, witness_offset, witness_us, witness_hash, partitions",
    )
    .bind(scope)
    .bind(request.partition)
    .bind(key(request.session))
    .fetch_one(&mut *connection)
    .await
    .map_err(|error| failed("could not grant a claim", error))?;
    forget_finished_attempts(connection, scope, request.partition).await?;
    // A2: all of it is read after the epoch was raised.
    Ok(Claim {
        claim: ClaimRef {
            scope: request.scope.clone(),
            partition: request.partition,
            epoch: unsigned(row.get("epoch")),
        },
        position: position(&row),
        read_from: read_from(&row)?,
        generation: unsigned(row.get("generation")),
        unclean,
        attempts: attempts(connection, scope, request.partition).await?,
        released: parking::released_of(connection, scope, request.partition).await?,
    })
}

/// A duplicate finishes its offset without a word on its attempts; they go here. Those of a released dead
/// letter stay: its offset was finished when it was parked.
async fn forget_finished_attempts(
    connection: &mut SqliteConnection,
    scope: i64,
    partition: Partition,
) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM keylane_attempts AS a WHERE scope = ?1 AND partition = ?2
            AND (SELECT a.generation <> c.generation OR a.offset < c.base FROM keylane_claims c
                WHERE c.scope = ?1 AND c.partition = ?2)
            AND NOT EXISTS (SELECT 1 FROM keylane_parked p
                WHERE p.scope = ?1 AND p.partition = ?2 AND p.generation = a.generation AND p.offset = a.offset
                AND p.requested_us IS NOT NULL)",
    )
    .bind(scope)
    .bind(partition)
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| failed("could not forget attempts", error))
}

/// L2: the claim's row is the position.
fn position(row: &SqliteRow) -> Option<Position> {
    let base: Option<i64> = row.get("base");
    let offset: Option<i64> = row.get("witness_offset");
    Some(Position {
        base: unsigned(base?),
        sparse: row.get::<Option<Vec<u8>>, _>("sparse").unwrap_or_default(),
        identity: row.get::<Option<String>, _>("identity").map(Text::from),
        witness: offset.map(|offset| Witness {
            offset: unsigned(offset),
            time: row.get::<Option<i64>, _>("witness_us").map(Timestamp::from_micros),
            hash: unsigned(row.get::<Option<i64>, _>("witness_hash").unwrap_or_default()),
        }),
        partitions: row.get("partitions"),
    })
}

/// L2: what an operator ordered, until a position was written.
fn read_from(row: &SqliteRow) -> Result<Option<ReadFrom>, Error> {
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
    connection: &mut SqliteConnection,
    scope: i64,
    partition: u32,
) -> Result<Vec<AttemptRow>, Error> {
    let rows = sqlx::query(
        "SELECT generation, offset, id, attempts, crashes, started_by, first_us, failure
         FROM keylane_attempts WHERE scope = ?1 AND partition = ?2 ORDER BY generation, offset",
    )
    .bind(scope)
    .bind(partition)
    .fetch_all(connection)
    .await
    .map_err(|error| failed("could not read attempts", error))?;
    rows.iter().map(attempt).collect()
}

pub(crate) fn attempt(row: &SqliteRow) -> Result<AttemptRow, Error> {
    let started_by: Option<Vec<u8>> = row.get("started_by");
    Ok(AttemptRow {
        generation: unsigned(row.get("generation")),
        offset: unsigned(row.get("offset")),
        id: Text::from(row.get::<String, _>("id")),
        attempts: row.get("attempts"),
        crashes: row.get("crashes"),
        started_by: started_by.map(|id| session_of(&id)).transpose()?,
        first_at: Timestamp::from_micros(row.get("first_us")),
        failure: row.get("failure"),
    })
}

fn session_of(id: &[u8]) -> Result<SessionId, Error> {
    let id =
        id.try_into().map_err(|_| Error::new(ErrorKind::Corrupt, "a stored session id has not 16 bytes"))?;
    Ok(SessionId(uuid::Uuid::from_bytes(id)))
}
