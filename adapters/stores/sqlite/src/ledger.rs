//! The ledger: which ids are finished, in a few generations that go by dropping (rule L1).
//!
//! Rows go into the subscription's open generation, whatever time their id carries; whoever looks for
//! an id looks in all of them. With one writer no unique key has to arbitrate between generations: the
//! look and the insert stand in one write transaction. See the decision page `sqlite-ledger-generations`.

use keylane::event::PayloadHash;
use keylane::{Error, ErrorKind};
use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::error::failed;

/// The live generations of a subscription.
pub(crate) struct Generations {
    /// The one that is written.
    pub(crate) open: i64,
    /// All that are read, the open one first.
    pub(crate) all: Vec<i64>,
}

/// Sees to it that a subscription has an open generation.
pub(crate) async fn open(connection: &mut SqliteConnection, subscription: &str) -> Result<(), Error> {
    let opened: Option<i64> = sqlx::query_scalar(
        "INSERT INTO keylane_ledgers (subscription, opened_us) SELECT ?1, us FROM keylane_clock
         WHERE NOT EXISTS (SELECT 1 FROM keylane_ledgers WHERE subscription = ?1 AND closed_us IS NULL)
         RETURNING id",
    )
    .bind(subscription)
    .fetch_optional(&mut *connection)
    .await
    .map_err(|error| failed("could not open a ledger generation", error))?;
    let Some(id) = opened else { return Ok(()) };
    // Without a row number: the key is all there is to find, and ids that carry their time keep its end hot.
    let create = format!(
        "CREATE TABLE {} (scope INTEGER NOT NULL, id BLOB NOT NULL, payload_hash BLOB NOT NULL,
         PRIMARY KEY (scope, id)) STRICT, WITHOUT ROWID",
        table(id)
    );
    let created = sqlx::query(AssertSqlSafe(create)).persistent(false).execute(connection).await;
    created.map(drop).map_err(|error| failed("could not create a ledger generation", error))
}

/// The live generations; `None` for a subscription that never claimed anything.
pub(crate) async fn generations(
    connection: &mut SqliteConnection,
    subscription: &str,
) -> Result<Option<Generations>, Error> {
    let all: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM keylane_ledgers WHERE subscription = ?1 ORDER BY id DESC")
            .bind(subscription)
            .fetch_all(connection)
            .await
            .map_err(|error| failed("could not read the ledger's generations", error))?;
    // The newest is the open one: a generation is closed and its successor opened in one transaction.
    Ok(all.first().map(|open| Generations { open: *open, all: all.clone() }))
}

/// What a ledger row says.
pub(crate) struct LedgerRow<'a> {
    pub(crate) id: &'a str,
    pub(crate) payload: PayloadHash,
}

/// Inserts the rows in one statement; they must be new, as a look in this transaction said.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    generation: i64,
    scope: i64,
    rows: &[LedgerRow<'_>],
) -> Result<(), Error> {
    // An id that is there after all fails the transaction (rule C2). `FAIL` instead of `ABORT`: nothing
    // of a statement is kept to undo it alone, which costs a copy of each page.
    run_insert(connection, format!("INSERT OR FAIL INTO {}", table(generation)), scope, rows).await
}

/// As [`insert`], for runs of parked events: their row was the arbiter, and the id may be taken (rule P2).
pub(crate) async fn insert_unless_taken(
    connection: &mut SqliteConnection,
    generation: i64,
    scope: i64,
    rows: &[LedgerRow<'_>],
) -> Result<(), Error> {
    run_insert(connection, format!("INSERT OR IGNORE INTO {}", table(generation)), scope, rows).await
}

/// Each row travels as one text of hexadecimal digits: 32 of the payload's hash, then those of the key.
async fn run_insert(
    connection: &mut SqliteConnection,
    insert: String,
    scope: i64,
    rows: &[LedgerRow<'_>],
) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut texts: Vec<String> = rows.iter().map(LedgerRow::text).collect();
    // C7: in the order of the keys, which is also the order of the pages that they fill.
    texts.sort_unstable_by(|a, b| a[HASH_DIGITS..].cmp(&b[HASH_DIGITS..]));
    let sql = format!(
        "{insert} SELECT ?1, unhex(substr(value, 33)), unhex(substr(value, 1, 32)) FROM json_each(?2)"
    );
    let done = sqlx::query(AssertSqlSafe(sql)).bind(scope).bind(json(&texts)?).execute(connection).await;
    done.map(drop).map_err(|error| failed("could not write the ledger", error))
}

const HASH_DIGITS: usize = 32;

impl LedgerRow<'_> {
    fn text(&self) -> String {
        hex(&self.payload.0) + &hex(&key(self.id))
    }
}

/// The key of an id: a UUID as it is commonly written becomes its 16 bytes behind one that begins no
/// UTF-8 text, any other id is its own bytes. The ledger is a third smaller for it.
pub(crate) fn key(id: &str) -> Vec<u8> {
    match uuid(id) {
        Some(uuid) => [&[0xff], &uuid.as_bytes()[..]].concat(),
        None => id.as_bytes().to_vec(),
    }
}

/// Only the one form that the bytes give back: lower case, with hyphens.
fn uuid(id: &str) -> Option<uuid::Uuid> {
    let uuid = uuid::Uuid::try_parse(id).ok().filter(|_| id.len() == uuid::fmt::Hyphenated::LENGTH)?;
    let lower = !id.bytes().any(|byte| byte.is_ascii_uppercase());
    lower.then_some(uuid)
}

/// Bytes as hexadecimal digits, which sort as the bytes do.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The generation's table.
pub(crate) fn table(generation: i64) -> String {
    format!("keylane_ledger_{generation}")
}

/// A list for `json_each`.
pub(crate) fn json<T: serde::Serialize>(list: &[T]) -> Result<String, Error> {
    serde_json::to_string(list)
        .map_err(|error| Error::new(ErrorKind::Corrupt, "a list can't be written as JSON").with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l1_no_two_ids_have_one_key() {
        let uuid = "0190163d-8694-739b-aea5-966c26f8ad91";
        assert_eq!(hex(&key(uuid)), "ff0190163d8694739baea5966c26f8ad91");
        for other in [
            "",
            "42",
            "0190163D-8694-739b-aea5-966c26f8ad91",
            "0190163d8694739baea5966c26f8ad91",
            "{0190163d-8694-739b-aea5-966c26f8ad91}",
        ] {
            assert_eq!(key(other), other.as_bytes(), "any other form is its own bytes");
        }
    }
}
