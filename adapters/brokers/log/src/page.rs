//! Reading: what a partition holds, and its records from an offset on.

use bytes::Bytes;
use keylane::Error;
use keylane::broker::Partition;
use keylane::env::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use crate::chunk::ChunkReader;
use crate::error::{deleted, failed, malformed};
use crate::number::{column, partition as partition_from, unsigned};
use crate::stream::Stream;

/// What one partition holds: offsets `low..next`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    pub partition: Partition,
    pub low: u64,
    pub next: u64,
    pub bytes: u64,
}

/// A row of records as it lies there.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub first: u64,
    pub count: u64,
    pub body: Bytes,
}

/// Chunks of one page, whatever their size: what the window below looks through at most.
const PAGE_CHUNKS_MAX: i64 = 512;

/// The ends of all partitions of a stream, in order.
///
/// # Errors
/// Permanent when the stream was deleted.
pub(crate) async fn ends(connection: &mut SqliteConnection, stream: &Stream) -> Result<Vec<Ends>, Error> {
    let rows = sqlx::query(
        "SELECT partition, low, next, bytes FROM keylane_log_partitions WHERE stream = ?1 ORDER BY partition",
    )
    .bind(stream.id)
    .fetch_all(connection)
    .await
    .map_err(failed(format!("could not ask for the ends of stream `{}`", stream.name)))?;
    if rows.is_empty() {
        return Err(deleted(&stream.name));
    }
    let ends = |row: &sqlx::sqlite::SqliteRow| Ends {
        partition: partition_from(row.get(0)),
        low: unsigned(row.get(1)),
        next: unsigned(row.get(2)),
        bytes: unsigned(row.get(3)),
    };
    Ok(rows.iter().map(ends).collect())
}

/// The chunks that hold `from` and what follows: about `bytes` of them, one at least if there is one.
pub(crate) async fn chunks(
    connection: &mut SqliteConnection,
    stream: &Stream,
    partition: Partition,
    from: u64,
    bytes: u64,
) -> Result<Vec<Chunk>, Error> {
    // The window adds up sizes over the narrow rows; only those within the bound have their bodies read.
    let rows = sqlx::query(
        "WITH page AS (
            SELECT rowid AS id, first, sum(bytes) OVER (ORDER BY first) - bytes AS before
            FROM keylane_log_chunks
            WHERE stream = ?1 AND partition = ?2 AND first >= coalesce(
                (SELECT max(first) FROM keylane_log_chunks WHERE stream = ?1 AND partition = ?2 AND first <= ?3), ?3)
            ORDER BY first LIMIT ?4)
         SELECT c.first, c.count, c.body FROM page p JOIN keylane_log_chunks c ON c.rowid = p.id
         WHERE p.before < ?5 AND c.first + c.count > ?3 ORDER BY p.first",
    )
    .bind(stream.id)
    .bind(i64::from(partition))
    .bind(column(from))
    .bind(PAGE_CHUNKS_MAX)
    .bind(column(bytes))
    .fetch_all(connection)
    .await
    .map_err(failed(format!("could not read {}/{partition} from {from} on", stream.name)))?;
    let chunk = |row: &sqlx::sqlite::SqliteRow| Chunk {
        first: unsigned(row.get(0)),
        count: unsigned(row.get(1)),
        body: row.get::<Vec<u8>, _>(2).into(),
    };
    Ok(rows.iter().map(chunk).collect())
}

/// The first offset whose record was written at or after `since`; `None` when there is none yet.
pub(crate) async fn offset_at(
    connection: &mut SqliteConnection,
    stream: &Stream,
    partition: Partition,
    since: Timestamp,
) -> Result<Option<u64>, Error> {
    // The reach never falls from row to row, so that this is the first row that can hold such a record,
    // and does, unless retention took the one that lifted the reach.
    let first: Option<i64> = sqlx::query_scalar(
        "SELECT first FROM keylane_log_chunks WHERE stream = ?1 AND partition = ?2 AND reach_us >= ?3
         ORDER BY reach_us, first LIMIT 1",
    )
    .bind(stream.id)
    .bind(i64::from(partition))
    .bind(since.as_micros())
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed(format!("could not look for a time in {}/{partition}", stream.name)))?;
    let Some(mut offset) = first.map(unsigned) else { return Ok(None) };
    loop {
        let page = chunks(connection, stream, partition, offset, 1).await?;
        let Some(chunk) = page.into_iter().next() else { return Ok(None) };
        offset = chunk.first;
        let damaged = |_| malformed(stream, partition, chunk.first);
        let mut records = ChunkReader::new(chunk.body).map_err(damaged)?;
        while let Some(record) = records.next().map_err(damaged)? {
            if record.time.is_some_and(|time| time >= since) {
                return Ok(Some(offset));
            }
            offset += 1;
        }
    }
}
