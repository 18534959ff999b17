//! The rows of committed events, on the longer way: ledger, parking, attempts.

use keylane::store::{AttemptRow, CommitEvent, Fate, Verdict};

use super::attempt::Attempt;
use super::facts::Facts;
use super::plain::Ledger;
use super::stop::Stop;
use crate::arrays::counted;
use crate::database::Link;
use crate::numbers::{hash, signed};
use crate::{id, parking};

/// Writes what the events' verdicts say.
pub(super) async fn write(
    attempt: &Attempt<'_>,
    link: &mut Link<'_>,
    facts: &Facts,
    events: &[(usize, &CommitEvent)],
) -> Result<(), Stop> {
    if events.is_empty() {
        return Ok(());
    }
    ledger_rows(attempt, link, facts, events).await?;
    for (number, event) in events {
        parking_rows(attempt, link, facts, *number, event).await?;
    }
    forget_attempts(attempt, link, events).await?;
    for (_, event) in events {
        if let Verdict::Tried(row) | Verdict::Started(row) = &event.verdict {
            keep_attempt(attempt, link, facts, event, row).await?;
        }
    }
    Ok(())
}

/// C2: in bulk. Runs of parked events have their row as arbiter, and their id may be taken (rule P2).
async fn ledger_rows(
    attempt: &Attempt<'_>,
    link: &mut Link<'_>,
    facts: &Facts,
    events: &[(usize, &CommitEvent)],
) -> Result<(), Stop> {
    let (mut new, mut run) = (Ledger::default(), Ledger::default());
    for (_, event) in events {
        if let (Some(payload), Verdict::Finish) = (event.ledger, &event.verdict) {
            let rows = if event.unpark.is_none() { &mut new } else { &mut run };
            rows.push(facts.scope[event.hold], id::key(&event.id), hash(payload));
        }
    }
    let sql = attempt.store.database.sql("SELECT {keylane}.ledger_insert($1, $2, $3, $4)");
    for (rows, arbiter) in [(new, true), (run, false)] {
        if rows.len() == 0 {
            continue;
        }
        let statement = rows.bind(sql.query());
        let inserted = statement.fetch_one(&mut **link).await;
        let inserted = inserted.map_err(|error| Stop::of(link, "could not write the ledger", error))?;
        let inserted: i64 = sqlx::Row::get(&inserted, 0);
        if arbiter && usize::try_from(inserted) != Ok(rows.len()) {
            return Err(Stop::NotPlain);
        }
    }
    Ok(())
}

/// P1, P2: an event moves between ledger and parking table in one commit. A try leaves its row, and the request for
/// it, in place: the event must not be forgotten between two tries.
async fn parking_rows(
    attempt: &Attempt<'_>,
    link: &mut Link<'_>,
    facts: &Facts,
    number: usize,
    event: &CommitEvent,
) -> Result<(), Stop> {
    let database = &attempt.store.database;
    if let (Some(place), Verdict::Finish | Verdict::Park(_)) = (facts.unparked.get(&number), &event.verdict) {
        parking::remove(database, link, *place).await?;
    }
    if let Verdict::Park(parked) = &event.verdict
        && !parking::insert(database, link, facts.scope[event.hold], parked).await?
    {
        return Err(Stop::NotPlain);
    }
    Ok(())
}

/// A duplicate ends its event as well; tries that are kept by id have nobody else to clear them.
pub(super) async fn forget_of_duplicates(
    attempt: &Attempt<'_>,
    link: &mut Link<'_>,
    fates: &[Fate],
) -> Result<(), Stop> {
    let numbers = attempt.course.events_of_all(&attempt.units);
    let events = attempt.course.group.events().enumerate().skip(numbers.start).take(numbers.len());
    let is_duplicate = |number: usize, event: &CommitEvent| {
        fates[number] == Fate::Duplicate && attempt.holds.partition[event.hold].is_none()
    };
    let duplicates: Vec<_> = events.filter(|(number, event)| is_duplicate(*number, event)).collect();
    forget_attempts(attempt, link, &duplicates).await
}

async fn forget_attempts(
    attempt: &Attempt<'_>,
    link: &mut Link<'_>,
    events: &[(usize, &CommitEvent)],
) -> Result<(), Stop> {
    let ended = || {
        let ends = |event: &CommitEvent| matches!(event.verdict, Verdict::Finish | Verdict::Park(_));
        events.iter().map(|(_, event)| *event).filter(move |event| ends(event))
    };
    if ended().next().is_none() {
        return Ok(());
    }
    let generation = |event: &CommitEvent| event.unpark.as_ref().map(|parked| signed(parked.generation));
    let sql = attempt.store.database.sql("SELECT {keylane}.forget_attempts($1, $2, $3, $4, $5, $6)");
    let done = sql
        .query()
        .bind(&attempt.holds.scope)
        .bind(&attempt.holds.partition)
        .bind(ended().map(|event| counted(event.hold)).collect::<Vec<_>>())
        .bind(ended().map(generation).collect::<Vec<_>>())
        .bind(ended().map(|event| signed(event.offset)).collect::<Vec<_>>())
        .bind(ended().map(|event| id::key(&event.id)).collect::<Vec<_>>())
        .execute(&mut **link)
        .await;
    done.map(drop).map_err(|error| Stop::of(link, "could not clear attempts", error))
}

async fn keep_attempt(
    attempt: &Attempt<'_>,
    link: &mut Link<'_>,
    facts: &Facts,
    event: &CommitEvent,
    row: &AttemptRow,
) -> Result<(), Stop> {
    let sql = match attempt.holds.partition[event.hold] {
        Some(_) => {
            "INSERT INTO {keylane}.attempts AS a (scope, partition, generation, \"offset\", id, attempts, crashes,
                started_by, first_us, failure)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
             ON CONFLICT (scope, partition, generation, \"offset\") DO UPDATE
             SET id = $5, attempts = $6, crashes = $7, started_by = $8, first_us = $9, failure = $10"
        }
        None => {
            "INSERT INTO {keylane}.tries AS t (scope, generation, \"offset\", id, attempts, crashes, started_by,
                first_us, failure, written_at)
             SELECT $1, $3, $4, $5, $6, $7, $8, $9, $10, clock_timestamp() WHERE $2::bigint IS NULL
             ON CONFLICT (scope, id) DO UPDATE
             SET generation = $3, \"offset\" = $4, attempts = $6, crashes = $7, started_by = $8, first_us = $9,
                failure = $10, written_at = excluded.written_at"
        }
    };
    let done = attempt
        .store
        .database
        .sql(sql)
        .query()
        .bind(facts.scope[event.hold])
        .bind(attempt.holds.partition[event.hold])
        .bind(signed(row.generation))
        .bind(signed(row.offset))
        .bind(id::key(&row.id))
        .bind(i64::from(row.attempts))
        .bind(i64::from(row.crashes))
        .bind(row.started_by.map(|session| session.0))
        .bind(row.first_at.as_micros())
        .bind(row.failure.as_bytes())
        .execute(&mut **link)
        .await;
    done.map(drop).map_err(|error| Stop::of(link, "could not keep an attempt", error))
}
