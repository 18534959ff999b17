//! Reading without a group: records from given positions, as they lie there.
//!
//! The same positions give the same records in the same order on any node and at any time, for as long
//! as retention leaves them. That holds within each stream and partition; across them no order is
//! promised, and none is made up here: every position has its own answer.

use keylane::broker::Partition;
use keylane::delivery::Place;
use keylane::event::Record;
use keylane::{Class, Error, ErrorKind};
use keylane_sqlite::Database;

use crate::chunk::ChunkReader;
use crate::error::{expired, malformed, unknown};
use crate::page::{chunks, ends};
use crate::stream::{Stream, Streams};

/// Where to read on in one partition of one stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The stream.
    pub stream: String,
    /// The partition.
    pub partition: Partition,
    /// The next offset to be read.
    pub offset: u64,
}

/// What was read from one position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The records with their places, in the order of their offsets; the epoch is 0, since nobody owns them.
    pub records: Vec<(Place, Record)>,
    /// Where to read on.
    pub next: Position,
}

/// Bytes that one look at the database brings.
const PAGE_BYTES: u64 = 256 * 1024;

/// At most `limit` records from each position, in the order of `positions`.
pub(crate) async fn read(
    database: &Database,
    streams: &Streams,
    positions: &[Position],
    limit: usize,
) -> Result<Vec<Replayed>, Error> {
    let mut replayed = Vec::with_capacity(positions.len());
    for position in positions {
        let name = &position.stream;
        let stream = streams.find(name).await?.ok_or_else(|| unknown(name))?;
        replayed.push(read_one(database, &stream, position, limit).await?);
    }
    Ok(replayed)
}

async fn read_one(
    database: &Database,
    stream: &Stream,
    position: &Position,
    limit: usize,
) -> Result<Replayed, Error> {
    let Position { partition, offset, .. } = *position;
    let mut reader = database.read().await?;
    let ends = ends(&mut reader, stream).await?;
    let Some(ends) = ends.into_iter().find(|ends| ends.partition == partition) else {
        let what = format!("stream `{}` has no partition {partition}", stream.name);
        return Err(Error::new(ErrorKind::Broker, what).with_class(Class::Permanent));
    };
    if offset < ends.low {
        return Err(expired(stream, partition, offset, ends.low));
    }
    let mut records = Vec::new();
    let mut next = offset;
    while records.len() < limit {
        let page = chunks(&mut reader, stream, partition, next, PAGE_BYTES).await?;
        if page.is_empty() {
            break;
        }
        for chunk in page {
            if chunk.first > next {
                return Err(expired(stream, partition, next, chunk.first));
            }
            let damaged = |_| malformed(stream, partition, chunk.first);
            let mut rest = ChunkReader::new(chunk.body).map_err(damaged)?;
            rest.skip(next - chunk.first).map_err(damaged)?;
            while records.len() < limit && next < chunk.first + chunk.count {
                let record = rest.next().ok().flatten().ok_or_else(|| malformed(stream, partition, next))?;
                records.push((Place { partition, epoch: 0, offset: next }, record));
                next += 1;
            }
            if records.len() == limit {
                break;
            }
        }
    }
    Ok(Replayed { records, next: Position { offset: next, ..position.clone() } })
}
