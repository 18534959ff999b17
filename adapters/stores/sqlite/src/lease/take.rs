//! Leases are taken: in one write transaction, with one statement of each kind for a batch.

use std::collections::BTreeSet;

use bytes::Bytes;
use keylane::store::{LeaseAnswer, SessionId};
use keylane::{Error, ErrorKind};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::error::failed;
use crate::ledger::{hex, json};
use crate::scope::unsigned;
use crate::session::key;

/// Takes the leases that are free, and waits for the others; one answer a key, in order.
pub(crate) async fn take(
    connection: &mut SqliteConnection,
    session: SessionId,
    scope: i64,
    keys: &[Bytes],
) -> Result<Vec<LeaseAnswer>, Error> {
    let names: Vec<String> = keys.iter().map(|key| hex(key)).collect();
    let standings = standings(connection, session, scope, &names).await?;
    bury(connection, &standings).await?;
    let (taken, granted): (Vec<usize>, Vec<usize>) =
        (0..keys.len()).partition(|at| standings[*at].is_taken());
    let pick = |which: &[usize]| which.iter().map(|at| names[*at].as_str()).collect::<Vec<_>>();
    pass_by(connection, scope, &names, &standings).await?;
    let first = grant(connection, session, scope, names_and_marks(&names, &standings, &granted)).await?;
    if granted.iter().any(|at| standings[*at].waits) {
        wait_no_more(connection, session, scope, &pick(&granted)).await?;
    }
    let new: Vec<usize> = taken.into_iter().filter(|at| !standings[*at].waits).collect();
    wait(connection, session, scope, &pick(&new)).await?;
    let mut answers = vec![LeaseAnswer::Taken; keys.len()];
    for (token, at) in (first..).zip(granted) {
        answers[at] = LeaseAnswer::Granted { token: unsigned(token), marks: standings[at].marks() };
    }
    Ok(answers)
}

/// How a key stands to the one who asks for it.
#[derive(Clone, Default)]
struct Standing {
    tenure: Tenure,
    /// What its last owner left to be marked, if it gave the lease back.
    marks: u32,
    /// Who asks waits for it already.
    waits: bool,
}

#[derive(Clone, Default)]
enum Tenure {
    /// Nobody has it, and it is kept for nobody else.
    #[default]
    Free,
    /// One's own, or of a session that was deleted.
    Left,
    /// Its owner's session has expired and must be deleted first.
    Dead { owner: Vec<u8> },
    /// Somebody else's, who lives.
    Taken,
    /// Given back and kept for another: `turn`, it is its turn; `dead`, its session has expired.
    Kept { first: Vec<u8>, turn: bool, dead: bool },
}

impl Standing {
    fn is_taken(&self) -> bool {
        matches!(self.tenure, Tenure::Taken | Tenure::Kept { turn: true, dead: false, .. })
    }

    /// T1: all, where whoever had it, be it this session itself, did not give it back.
    fn marks(&self) -> u32 {
        if matches!(self.tenure, Tenure::Free | Tenure::Kept { .. }) { self.marks } else { u32::MAX }
    }
}

async fn standings(
    connection: &mut SqliteConnection,
    session: SessionId,
    scope: i64,
    names: &[String],
) -> Result<Vec<Standing>, Error> {
    // S4: the database's clock decides who is dead, and whose turn is over.
    let rows = sqlx::query(
        "SELECT e.key AS at, l.owner, l.owner = ?3 AS own, l.marks, o.expires_us > clock.us AS owner_lives,
            l.kept_for, l.kept_for = ?3 AS own_turn, l.kept_until_us > clock.us AS turn,
            k.expires_us > clock.us AS first_lives,
            EXISTS (SELECT 1 FROM keylane_lease_waits w
                WHERE w.scope = l.scope AND w.key = l.key AND w.session = ?3) AS waits
         FROM json_each(?1) e CROSS JOIN keylane_leases l ON l.scope = ?2 AND l.key = unhex(e.value)
            CROSS JOIN keylane_clock clock
            LEFT JOIN keylane_sessions o ON o.id = l.owner LEFT JOIN keylane_sessions k ON k.id = l.kept_for",
    )
    .bind(json(names)?)
    .bind(scope)
    .bind(key(session))
    .fetch_all(connection)
    .await
    .map_err(|error| failed("could not read leases", error))?;
    let mut standings = vec![Standing::default(); names.len()];
    for row in &rows {
        let at = usize::try_from(row.get::<i64, _>("at")).unwrap_or(usize::MAX);
        if let Some(standing) = standings.get_mut(at) {
            let marks = u32::try_from(row.get::<i64, _>("marks")).unwrap_or(u32::MAX);
            *standing = Standing { tenure: tenure(row), marks, waits: row.get("waits") };
        }
    }
    Ok(standings)
}

fn tenure(row: &SqliteRow) -> Tenure {
    let holds = |name: &str| row.get::<Option<bool>, _>(name);
    if let Some(owner) = row.get::<Option<Vec<u8>>, _>("owner") {
        return match (holds("own"), holds("owner_lives")) {
            (Some(true), _) | (_, None) => Tenure::Left,
            (_, Some(true)) => Tenure::Taken,
            (_, Some(false)) => Tenure::Dead { owner },
        };
    }
    match (row.get::<Option<Vec<u8>>, _>("kept_for"), holds("own_turn")) {
        (Some(first), Some(false)) => {
            let (turn, dead) = (holds("turn").unwrap_or(false), !holds("first_lives").unwrap_or(false));
            Tenure::Kept { first, turn, dead }
        }
        _ => Tenure::Free,
    }
}

/// S1: dead owners are deleted in the transaction that passes their leases on: it defeats all that is still on
/// its way of theirs. The conditional delete is the arbiter.
async fn bury(connection: &mut SqliteConnection, standings: &[Standing]) -> Result<(), Error> {
    let dead = standings.iter().filter_map(|standing| match &standing.tenure {
        Tenure::Dead { owner } => Some(hex(owner)),
        _ => None,
    });
    let dead: BTreeSet<String> = dead.collect();
    if dead.is_empty() {
        return Ok(());
    }
    let dead: Vec<String> = dead.into_iter().collect();
    let gone = sqlx::query(
        "DELETE FROM keylane_sessions
         WHERE id IN (SELECT unhex(value) FROM json_each(?1)) AND expires_us <= (SELECT us FROM keylane_clock)",
    )
    .bind(json(&dead)?)
    .execute(connection)
    .await
    .map_err(|error| failed("could not take over dead sessions", error))?;
    if gone.rows_affected() >= dead.len() as u64 {
        return Ok(());
    }
    // Only a clock that was set back in between does this.
    Err(Error::new(ErrorKind::Store, "a session that had expired has not any more; ask again"))
}

/// S9: who was kept a lease for and did not come stands behind the others from now on. Rare, and so one by one.
async fn pass_by(
    connection: &mut SqliteConnection,
    scope: i64,
    names: &[String],
    standings: &[Standing],
) -> Result<(), Error> {
    for (name, standing) in names.iter().zip(standings).filter(|(_, standing)| !standing.is_taken()) {
        let Tenure::Kept { first, .. } = &standing.tenure else { continue };
        sqlx::query(
            "UPDATE keylane_lease_waits SET place = (SELECT max(place) + 1 FROM keylane_lease_waits)
             WHERE scope = ?1 AND key = unhex(?2) AND session = ?3",
        )
        .bind(scope)
        .bind(name)
        .bind(first)
        .execute(&mut *connection)
        .await
        .map_err(|error| failed("could not pass a turn on", error))?;
    }
    Ok(())
}

fn names_and_marks<'a>(
    names: &'a [String],
    standings: &[Standing],
    granted: &[usize],
) -> Vec<(&'a str, u32)> {
    granted.iter().map(|at| (names[*at].as_str(), standings[*at].marks())).collect()
}

/// Grants the leases, with the marks that are to be made; the token of the first, which those of the others follow
/// (rule A4).
async fn grant(
    connection: &mut SqliteConnection,
    session: SessionId,
    scope: i64,
    granted: Vec<(&str, u32)>,
) -> Result<i64, Error> {
    if granted.is_empty() {
        return Ok(0);
    }
    let first: i64 =
        sqlx::query_scalar("UPDATE keylane_lease_tokens SET last = last + ?1 RETURNING last - ?1 + 1")
            .bind(i64::try_from(granted.len()).unwrap_or(i64::MAX))
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| failed("could not draw lease tokens", error))?;
    sqlx::query(
        "INSERT INTO keylane_leases (scope, key, token, owner, granted_us, marks)
         SELECT ?1, unhex(e.value ->> 0), ?2 + e.key, ?3, us, e.value ->> 1
         FROM json_each(?4) e CROSS JOIN keylane_clock WHERE true
         ON CONFLICT DO UPDATE SET token = excluded.token, owner = excluded.owner, marks = excluded.marks,
            granted_us = excluded.granted_us, kept_for = NULL, kept_until_us = NULL",
    )
    .bind(scope)
    .bind(first)
    .bind(key(session))
    .bind(json(&granted)?)
    .execute(connection)
    .await
    .map_err(|error| failed("could not grant leases", error))?;
    Ok(first)
}

async fn wait(
    connection: &mut SqliteConnection,
    session: SessionId,
    scope: i64,
    names: &[&str],
) -> Result<(), Error> {
    if names.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO keylane_lease_waits (scope, key, session) SELECT ?1, unhex(value), ?2 FROM json_each(?3)",
    )
    .bind(scope)
    .bind(key(session))
    .bind(json(names)?)
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| failed("could not wait for leases", error))
}

async fn wait_no_more(
    connection: &mut SqliteConnection,
    session: SessionId,
    scope: i64,
    names: &[&str],
) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM keylane_lease_waits
         WHERE scope = ?1 AND session = ?2 AND key IN (SELECT unhex(value) FROM json_each(?3))",
    )
    .bind(scope)
    .bind(key(session))
    .bind(json(names)?)
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| failed("could not end the waiting for leases", error))
}
