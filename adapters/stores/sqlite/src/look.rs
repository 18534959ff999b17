//! What is known of events by their ids: the one look that admission, commit and resolution share.

use std::fmt::Write;

use keylane::event::PayloadHash;
use keylane::store::Admission;
use keylane::{Error, ErrorKind};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use crate::error::failed;
use crate::ledger::{hex, json, key, table};

/// An event to look up in one scope.
pub(crate) struct Sought<'a> {
    pub(crate) id: &'a str,
    /// `None`: no ledger is kept; whether the id is parked is all that is asked.
    pub(crate) payload: Option<PayloadHash>,
}

/// Looks in every live generation of the ledger (rule L1) and in the parking table (rule P1), at one
/// point in time. One answer for each that is sought, in order.
pub(crate) async fn look(
    connection: &mut SqliteConnection,
    scope: i64,
    generations: &[i64],
    sought: &[Sought<'_>],
) -> Result<Vec<Known>, Error> {
    let mut known = vec![Known::default(); sought.len()];
    if sought.is_empty() || generations.is_empty() {
        return Ok(known);
    }
    let extent = extent(connection, scope, generations).await?;
    let mut suspects = Vec::new();
    let mut keys = Vec::new();
    for (at, event) in sought.iter().enumerate() {
        let key = key(event.id);
        if event.payload.is_some() && extent.newest.as_ref().is_some_and(|newest| key <= *newest) {
            suspects.push(at);
            keys.push(hex(&key));
        }
    }
    if !suspects.is_empty() {
        let found = in_ledger(connection, scope, generations, &keys).await?;
        mark(&mut known, sought, found, |at| suspects.get(at).copied(), false);
    }
    if extent.parked {
        let found = among_parked(connection, scope, sought).await?;
        mark(&mut known, sought, found, Some, true);
    }
    Ok(known)
}

/// How far a scope's ledger reaches. Ids that carry their time lie above the greatest key, and need no
/// look in any generation: exact whatever the ids, and nearly free for these.
struct Extent {
    newest: Option<Vec<u8>>,
    parked: bool,
}

async fn extent(connection: &mut SqliteConnection, scope: i64, generations: &[i64]) -> Result<Extent, Error> {
    let mut sql = String::from(
        "SELECT EXISTS (SELECT 1 FROM keylane_parked WHERE scope = ?1) AS parked, max(id) AS newest FROM (",
    );
    for (at, generation) in generations.iter().enumerate() {
        let (union, table) = (if at == 0 { "" } else { " UNION ALL " }, table(*generation));
        let _ = write!(
            sql,
            "{union}SELECT id FROM (SELECT id FROM {table} WHERE scope = ?1 ORDER BY id DESC LIMIT 1)"
        );
    }
    sql.push(')');
    let row = sqlx::query(AssertSqlSafe(sql)).bind(scope).fetch_one(connection).await;
    let row = row.map_err(|error| failed("could not read the ledger's extent", error))?;
    Ok(Extent { newest: row.get("newest"), parked: row.get("parked") })
}

type Found = Vec<(usize, PayloadHash)>;

/// Only what is there comes back as a row: usually nothing. The order of the joins is fixed, because
/// nothing tells SQLite how short the list is.
async fn in_ledger(
    connection: &mut SqliteConnection,
    scope: i64,
    generations: &[i64],
    keys: &[String],
) -> Result<Found, Error> {
    let arm = |generation: &i64| {
        format!(
            "SELECT e.key AS at, l.payload_hash FROM json_each(?1) e
             CROSS JOIN {} l ON l.scope = ?2 AND l.id = unhex(e.value)",
            table(*generation)
        )
    };
    let arms: Vec<String> = generations.iter().map(arm).collect();
    rows(connection, arms.join(" UNION ALL "), json(keys)?, scope).await
}

async fn among_parked(
    connection: &mut SqliteConnection,
    scope: i64,
    sought: &[Sought<'_>],
) -> Result<Found, Error> {
    let ids: Vec<&str> = sought.iter().map(|event| event.id).collect();
    let sql = "SELECT e.key AS at, p.payload_hash FROM json_each(?1) e
               CROSS JOIN keylane_parked p ON p.scope = ?2 AND p.id = e.value";
    rows(connection, sql.to_owned(), json(&ids)?, scope).await
}

async fn rows(
    connection: &mut SqliteConnection,
    sql: String,
    list: String,
    scope: i64,
) -> Result<Found, Error> {
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(list).bind(scope).fetch_all(connection).await;
    let rows = rows.map_err(|error| failed("could not look up events", error))?;
    let read = |row: &sqlx::sqlite::SqliteRow| {
        let at = usize::try_from(row.get::<i64, _>("at")).unwrap_or(usize::MAX);
        Ok((at, hash(row.get("payload_hash"))?))
    };
    rows.iter().map(read).collect()
}

/// `place` tells which of the sought a row of the answer is about.
fn mark(
    known: &mut [Known],
    sought: &[Sought<'_>],
    found: Found,
    place: impl Fn(usize) -> Option<usize>,
    parked: bool,
) {
    for (at, payload) in found {
        if let Some((known, event)) = place(at).and_then(|at| Some((known.get_mut(at)?, sought.get(at)?))) {
            known.add(parked, event.payload.is_none_or(|sought| sought == payload));
        }
    }
}

/// Where an id was found, and whether with the same payload.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known {
    finished: bool,
    parked: bool,
    other_payload: bool,
}

impl Known {
    fn add(&mut self, parked: bool, same: bool) {
        match (same, parked) {
            (false, _) => self.other_payload = true,
            (true, true) => self.parked = true,
            (true, false) => self.finished = true,
        }
    }

    /// For an event that is to be handled (rule L4).
    pub(crate) fn admission(self) -> Admission {
        if self.finished {
            Admission::Finished
        } else if self.parked {
            Admission::Parked
        } else if self.other_payload {
            Admission::Conflict
        } else {
            Admission::Fresh
        }
    }

    /// For a conflict on its way to the dead letters: its id is taken, and that is no news.
    pub(crate) fn admission_of_conflict(self) -> Admission {
        if self.parked { Admission::Parked } else { Admission::Fresh }
    }
}

fn hash(bytes: Vec<u8>) -> Result<PayloadHash, Error> {
    let bytes = bytes
        .try_into()
        .map_err(|_| Error::new(ErrorKind::Corrupt, "a stored payload hash has not 16 bytes"))?;
    Ok(PayloadHash(bytes))
}
