//! What is known of events by their ids: the one look that admission, commit and resolution share.

use std::fmt::Write;

use keylane::event::PayloadHash;
use keylane::store::Admission;
use keylane::{Error, ErrorKind};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use crate::error::failed;
use crate::ledger::{json, push_key, table};

/// An event to look up in one scope.
pub(crate) struct Sought<'a> {
    pub(crate) id: &'a str,
    pub(crate) payload: PayloadHash,
}

/// Looks in every live generation of the ledger (rule L1) and in the parking table (rule P1), at one
/// point in time. One answer for each that is sought, in order.
pub(crate) async fn look(
    connection: &mut SqliteConnection,
    scope: i64,
    generations: &[i64],
    parked: bool,
    sought: &[Sought<'_>],
) -> Result<Vec<Known>, Error> {
    let mut known = vec![Known::default(); sought.len()];
    if sought.is_empty() || (generations.is_empty() && !parked) {
        return Ok(known);
    }
    let ids: Vec<&str> = sought.iter().map(|event| event.id).collect();
    let ids = if parked { json(&ids)? } else { String::new() };
    let found = sqlx::query(AssertSqlSafe(statement(generations, parked)))
        .bind(json(&keys(sought))?)
        .bind(scope)
        .bind(ids)
        .fetch_all(connection)
        .await
        .map_err(|error| failed("could not look up events", error))?;
    for row in &found {
        let at = usize::try_from(row.get::<i64, _>("at")).unwrap_or(usize::MAX);
        if let (Some(known), Some(event)) = (known.get_mut(at), sought.get(at)) {
            known.add(row.get("parked"), hash(row.get("payload_hash"))? == event.payload);
        }
    }
    Ok(known)
}

fn keys(sought: &[Sought<'_>]) -> Vec<String> {
    let key = |event: &Sought<'_>| {
        let mut text = String::with_capacity(2 * event.id.len());
        push_key(&mut text, event.id);
        text
    };
    sought.iter().map(key).collect()
}

/// Only what is known comes back as a row: usually nothing. The order of the joins is fixed, because
/// nothing tells SQLite how short the list is.
fn statement(generations: &[i64], parked: bool) -> String {
    let mut sql = String::new();
    for generation in generations {
        let table = table(*generation);
        let _ = write!(
            sql,
            "SELECT e.key AS at, 0 AS parked, l.payload_hash FROM json_each(?1) e
             CROSS JOIN {table} l ON l.scope = ?2 AND l.id = unhex(e.value) UNION ALL "
        );
    }
    if parked {
        sql.push_str(
            "SELECT e.key AS at, 1 AS parked, p.payload_hash FROM json_each(?3) e
             CROSS JOIN keylane_parked p ON p.scope = ?2 AND p.id = e.value",
        );
    } else {
        sql.truncate(sql.len() - " UNION ALL ".len());
    }
    sql
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
