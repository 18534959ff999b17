//! The rows of committed events: ledger, parking, attempts, positions.

use std::collections::BTreeMap;

use keylane::Error;
use keylane::env::Timestamp;
use keylane::store::{AttemptRow, ClaimRef, CommitEvent, CommitGroup, Fate, Position, SessionId, Verdict};
use sqlx::SqliteConnection;

use super::facts::Facts;
use crate::error::failed;
use crate::ledger::{self, LedgerRow, json};
use crate::scope::signed;
use crate::session::key;
use crate::{SqliteStore, parking, tries};

/// Writes what the events' verdicts say; `attempts`: there are attempts that may have to go.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    group: &CommitGroup,
    facts: &Facts,
    events: &[(usize, &CommitEvent)],
    attempts: bool,
) -> Result<(), Error> {
    ledger_rows(connection, facts, events).await?;
    for (number, event) in events {
        parking_rows(connection, facts, *number, event).await?;
    }
    if attempts {
        clear_attempts(connection, group, facts, events).await?;
    }
    for (_, event) in events {
        if let Verdict::Tried(row) | Verdict::Started(row) = &event.verdict {
            keep_attempt(connection, facts.holds[event.hold].scope, group, event, row).await?;
        }
    }
    Ok(())
}

/// C2: in bulk, one statement a scope.
async fn ledger_rows(
    connection: &mut SqliteConnection,
    facts: &Facts,
    events: &[(usize, &CommitEvent)],
) -> Result<(), Error> {
    for (scope, generations) in &facts.ledgers {
        let (mut new, mut run) = (Vec::new(), Vec::new());
        for (_, event) in events.iter().filter(|(_, event)| facts.holds[event.hold].scope == Some(*scope)) {
            if let (Some(payload), Verdict::Finish) = (event.ledger, &event.verdict) {
                let rows = if event.unpark.is_none() { &mut new } else { &mut run };
                rows.push(LedgerRow { id: &event.id, payload });
            }
        }
        ledger::insert(connection, generations.open, *scope, &new).await?;
        ledger::insert_unless_taken(connection, generations.open, *scope, &run).await?;
    }
    Ok(())
}

/// P1, P2: an event moves between ledger and parking table in one commit. A try leaves its row, and
/// the request for it, in place: the event must not be forgotten between two tries.
async fn parking_rows(
    connection: &mut SqliteConnection,
    facts: &Facts,
    number: usize,
    event: &CommitEvent,
) -> Result<(), Error> {
    if let (Some(place), Verdict::Finish | Verdict::Park(_)) = (facts.unparked.get(&number), &event.verdict) {
        parking::remove(connection, *place).await?;
    }
    if let (Verdict::Park(parked), Some(scope)) = (&event.verdict, facts.holds[event.hold].scope) {
        parking::insert(connection, scope, parked).await?;
    }
    Ok(())
}

/// One statement a claim, and one for each older generation of it.
async fn clear_attempts(
    connection: &mut SqliteConnection,
    group: &CommitGroup,
    facts: &Facts,
    events: &[(usize, &CommitEvent)],
) -> Result<(), Error> {
    let mut ended: BTreeMap<(usize, Option<i64>), Vec<i64>> = BTreeMap::new();
    for (_, event) in events {
        if let (Verdict::Finish | Verdict::Park(_), Some(_)) =
            (&event.verdict, group.holds[event.hold].claim())
        {
            let generation = event.unpark.as_ref().map(|parked| signed(parked.generation));
            ended.entry((event.hold, generation)).or_default().push(signed(event.offset));
        }
    }
    for ((claim, generation), offsets) in ended {
        sqlx::query(
            "DELETE FROM keylane_attempts
             WHERE scope = ?1 AND partition = ?2 AND offset IN (SELECT value FROM json_each(?3)) AND generation =
                coalesce(?4, (SELECT generation FROM keylane_claims WHERE scope = ?1 AND partition = ?2))",
        )
        .bind(facts.holds[claim].scope)
        .bind(group.holds[claim].claim().map(|claim| claim.claim.partition))
        .bind(json(&offsets)?)
        .bind(generation)
        .execute(&mut *connection)
        .await
        .map_err(|error| failed("could not clear attempts", error))?;
    }
    Ok(())
}

/// Of a claimed partition by its place, of a leased key by its id.
async fn keep_attempt(
    connection: &mut SqliteConnection,
    scope: Option<i64>,
    group: &CommitGroup,
    event: &CommitEvent,
    row: &AttemptRow,
) -> Result<(), Error> {
    let Some(claim) = group.holds[event.hold].claim() else {
        return tries::keep(connection, scope, row).await;
    };
    sqlx::query(
        "INSERT OR REPLACE INTO keylane_attempts
            (scope, partition, generation, offset, id, attempts, crashes, started_by, first_us, failure)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )
    .bind(scope)
    .bind(claim.claim.partition)
    .bind(signed(row.generation))
    .bind(signed(row.offset))
    .bind(row.id.as_str())
    .bind(row.attempts)
    .bind(row.crashes)
    .bind(row.started_by.map(key))
    .bind(row.first_at.as_micros())
    .bind(&row.failure)
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| failed("could not keep an attempt", error))
}

/// Tries of leased events that are over, be it as duplicates: what is kept by id has nobody else to clear it. One
/// statement a scope.
pub(super) async fn clear_tries(
    connection: &mut SqliteConnection,
    group: &CommitGroup,
    facts: &Facts,
    fates: &[Fate],
) -> Result<(), Error> {
    let mut over: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
    for (event, fate) in group.events().zip(fates) {
        let leased = group.holds[event.hold].lease().is_some();
        if let Some(scope) = facts.holds[event.hold].scope.filter(|_| leased && event.is_over(fate)) {
            over.entry(scope).or_default().push(&event.id);
        }
    }
    for (scope, ids) in over {
        tries::clear(connection, scope, &ids).await?;
    }
    Ok(())
}

/// L2: the claim's row is the position. Only a claim that is still held has one to write (rule S2).
pub(super) async fn positions(
    store: &SqliteStore,
    connection: &mut SqliteConnection,
    session: SessionId,
    positions: &[(usize, ClaimRef, Position)],
) -> Result<(), Error> {
    for (_, claim, position) in positions {
        let scope = store.scopes.number(connection, &claim.scope).await?;
        sqlx::query(
            "UPDATE keylane_claims
             SET base = ?5, sparse = ?6, identity = ?7, witness_offset = ?8, witness_us = ?9, witness_hash = ?10,
                partitions = ?11, written_us = (SELECT us FROM keylane_clock)
             WHERE scope = ?1 AND partition = ?2 AND owner = ?3 AND epoch = ?4",
        )
        .bind(scope)
        .bind(claim.partition)
        .bind(key(session))
        .bind(signed(claim.epoch))
        .bind(signed(position.base))
        .bind(&position.sparse)
        .bind(position.identity.as_deref())
        .bind(position.witness.map(|witness| signed(witness.offset)))
        .bind(position.witness.and_then(|witness| witness.time).map(Timestamp::as_micros))
        .bind(position.witness.map(|witness| signed(witness.hash)))
        .bind(position.partitions)
        .execute(&mut *connection)
        .await
        .map_err(|error| failed("could not write a position", error))?;
    }
    Ok(())
}
