//! The journal: a second subscription over the same events, which notes every record it is given.
//!
//! It knows nothing of ids or payloads, and its ledger is the position. So it sees what the handlers'
//! subscription never shows them, duplicates, and the account can start from the log itself.

use bytes::Bytes;
use keylane::handler::Raw;
use keylane::{Batch, Effects, Failure, Routes, Tx, route};
use keylane_sqlite::Sqlite;

/// Every kind, in batches.
pub(crate) fn routes() -> Routes {
    Routes::new().all_batches(route(note).at_most(500))
}

type Line = (u32, u64, String);

async fn note(records: Batch<Bytes, Raw>, mut fx: Effects<Sqlite>) -> Result<(), Failure> {
    let line = |record: keylane::handler::Item<'_, Bytes>| {
        let meta = record.meta();
        (meta.place.partition, meta.place.offset, meta.id.to_string())
    };
    fx.commit_with(records.iter().map(line).collect(), write);
    Ok(())
}

async fn write(mut tx: Tx<Sqlite>, lines: Vec<Line>) -> Result<(), Failure> {
    for (partition, position, event) in lines {
        sqlx::query("INSERT INTO journal (partition, position, event_id) VALUES (?1, ?2, ?3)")
            .bind(partition)
            .bind(position as i64)
            .bind(event)
            .execute(&mut *tx)
            .await?;
    }
    tx.done()
}
