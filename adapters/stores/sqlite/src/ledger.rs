//! The ledger: which ids are finished, in a few generations that go by dropping (rule L1).
//!
//! Rows go into the subscription's open generation, whatever time their id carries; whoever looks for
//! an id looks in all of them. With one writer no unique key has to arbitrate between generations: the
//! look and the insert stand in one write transaction. See decision 20.

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
        "CREATE TABLE {} (scope INTEGER NOT NULL, id TEXT NOT NULL, payload_hash BLOB NOT NULL,
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
    if rows.is_empty() {
        return Ok(());
    }
    // No `ON CONFLICT`: an id that is there after all must fail the transaction (rule C2).
    let sql = format!("{} FROM json_each(?2)", insertion(generation));
    run_insert(connection, sql, scope, rows).await
}

/// As [`insert`], for runs of parked events: their row was the arbiter, and the id may be taken (rule P2).
pub(crate) async fn insert_unless_taken(
    connection: &mut SqliteConnection,
    generation: i64,
    scope: i64,
    rows: &[LedgerRow<'_>],
) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let sql = format!("{} FROM json_each(?2) WHERE true ON CONFLICT DO NOTHING", insertion(generation));
    run_insert(connection, sql, scope, rows).await
}

/// Each row travels as one text: 32 hexadecimal digits of the payload's hash, then the id.
fn insertion(generation: i64) -> String {
    let table = table(generation);
    format!("INSERT INTO {table} SELECT ?1, substr(value, 33), unhex(substr(value, 1, 32))")
}

async fn run_insert(
    connection: &mut SqliteConnection,
    sql: String,
    scope: i64,
    rows: &[LedgerRow<'_>],
) -> Result<(), Error> {
    let texts: Vec<String> = rows.iter().map(|row| hex(row.payload) + row.id).collect();
    let done = sqlx::query(AssertSqlSafe(sql)).bind(scope).bind(json(&texts)?).execute(connection).await;
    done.map(drop).map_err(|error| failed("could not write the ledger", error))
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

fn hex(hash: PayloadHash) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(96);
    for byte in hash.0 {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}
