//! Appending: one task writes for all publishers, and takes into one transaction whatever queued up
//! while the last one ran (group commit, without a timer).

use std::collections::BTreeMap;
use std::sync::Arc;

use keylane::broker::Partition;
use keylane::env::Timestamp;
use keylane::{Env, Error, ErrorKind};
use keylane_sqlite::Database;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::chunk::ChunkBuilder;
use crate::error::failed;
use crate::number::{column, unsigned};

/// Bytes of one transaction, but for a single job that is greater.
pub(crate) const GROUP_BYTES: usize = 4 * 1024 * 1024;
/// Jobs that wait for the writer; beyond it publishers wait.
pub(crate) const JOBS_MAX: usize = 256;

/// Records of one call, to be appended together and in order.
pub(crate) struct Job {
    pub entries: Vec<Entry>,
    pub answer: oneshot::Sender<Result<Vec<Place>, Error>>,
}

/// An encoded record and where it goes.
pub(crate) struct Entry {
    pub stream: i64,
    pub partition: Partition,
    pub time: Timestamp,
    pub encoded: Vec<u8>,
}

/// The offset that a record got; `None`: its stream was deleted meanwhile.
pub(crate) type Place = Option<u64>;

impl Job {
    fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.encoded.len()).sum()
    }
}

/// Appends until the broker is closed and what was queued by then is appended.
pub(crate) async fn run(
    database: Arc<Database>,
    env: Env,
    mut jobs: mpsc::Receiver<Job>,
    closing: CancellationToken,
) {
    loop {
        // Closing first: it only bars the queue, whose rest still comes out.
        let first = tokio::select! { biased;
            () = closing.cancelled(), if !jobs.is_closed() => {
                jobs.close();
                continue;
            }
            job = jobs.recv() => job,
        };
        let Some(first) = first else { return };
        let mut bytes = first.bytes();
        let mut group = vec![first];
        while bytes < GROUP_BYTES
            && let Ok(job) = jobs.try_recv()
        {
            bytes += job.bytes();
            group.push(job);
        }
        let done = append_all(&database, &env, &group).await;
        answer(group, done);
    }
}

fn answer(group: Vec<Job>, done: Result<Vec<Vec<Place>>, Error>) {
    match done {
        // A publisher that stopped waiting gets its records appended nevertheless, as with any broker.
        Ok(places) => {
            for (job, places) in group.into_iter().zip(places) {
                drop(job.answer.send(Ok(places)));
            }
        }
        Err(error) => {
            for job in group {
                drop(job.answer.send(Err(copy(&error))));
            }
        }
    }
}

/// One failure for each of those that shared the transaction.
fn copy(error: &Error) -> Error {
    Error::new(ErrorKind::Broker, format!("nothing was appended: {error:?}")).with_class(error.class())
}

async fn append_all(database: &Database, env: &Env, group: &[Job]) -> Result<Vec<Vec<Place>>, Error> {
    let mut writer = database.write().await?;
    let places = append(&mut writer, env, group).await;
    writer.appended();
    writer.end(places).await
}

/// Appends the group inside the caller's transaction; places in the order of jobs and entries.
async fn append(
    connection: &mut SqliteConnection,
    env: &Env,
    group: &[Job],
) -> Result<Vec<Vec<Place>>, Error> {
    let mut places: Vec<Vec<Place>> = group.iter().map(|job| vec![None; job.entries.len()]).collect();
    // Sorted by stream and partition (rule C7); within one, in the order of arrival.
    let mut targets: BTreeMap<(i64, Partition), Vec<(usize, usize)>> = BTreeMap::new();
    for (j, job) in group.iter().enumerate() {
        for (e, entry) in job.entries.iter().enumerate() {
            targets.entry((entry.stream, entry.partition)).or_default().push((j, e));
        }
    }
    for ((stream, partition), members) in targets {
        let chunks = chunks_of(members.iter().map(|(j, e)| &group[*j].entries[*e]));
        if let Some(first) = insert(connection, env, stream, partition, chunks).await? {
            for (offset, (j, e)) in (first..).zip(members) {
                places[j][e] = Some(offset);
            }
        }
    }
    Ok(places)
}

fn chunks_of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<ChunkBuilder> {
    let mut chunks: Vec<ChunkBuilder> = Vec::new();
    for Entry { time, encoded, .. } in entries {
        match chunks.last_mut().filter(|chunk| chunk.fits(encoded)) {
            Some(chunk) => chunk.push(encoded, *time),
            None => {
                let mut chunk = ChunkBuilder::new();
                chunk.push(encoded, *time);
                chunks.push(chunk);
            }
        }
    }
    chunks
}

/// Inserts chunks at the end of a partition; the offset of their first record, `None` without a stream.
async fn insert(
    connection: &mut SqliteConnection,
    env: &Env,
    stream: i64,
    partition: Partition,
    chunks: Vec<ChunkBuilder>,
) -> Result<Option<u64>, Error> {
    let wrong = || failed(format!("could not append to partition {partition} of stream number {stream}"));
    let count: u64 = chunks.iter().map(|chunk| u64::from(chunk.count())).sum();
    let bytes: usize = chunks.iter().map(ChunkBuilder::bytes).sum();
    let head = sqlx::query(
        "UPDATE keylane_log_partitions SET next = next + ?3, bytes = bytes + ?4
         WHERE stream = ?1 AND partition = ?2 RETURNING next, reach_us",
    )
    .bind(stream)
    .bind(i64::from(partition))
    .bind(column(count))
    .bind(column(bytes as u64))
    .fetch_optional(&mut *connection)
    .await
    .map_err(wrong())?;
    let Some(head) = head else { return Ok(None) };
    let start = unsigned(head.get(0)) - count;
    let (mut first, mut reach): (u64, i64) = (start, head.get(1));
    for chunk in chunks {
        let count = u64::from(chunk.count());
        // Producers' times come in any order. The greatest so far never falls: by it a time is found.
        reach = reach.max(chunk.latest().as_micros());
        let body = chunk.finish();
        sqlx::query(
            "INSERT INTO keylane_log_chunks (stream, partition, first, count, appended_us, reach_us, bytes, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .bind(stream)
        .bind(i64::from(partition))
        .bind(column(first))
        .bind(column(count))
        .bind(env.wall().as_micros())
        .bind(reach)
        .bind(column(body.len() as u64))
        .bind(body)
        .execute(&mut *connection)
        .await
        .map_err(wrong())?;
        first += count;
    }
    sqlx::query("UPDATE keylane_log_partitions SET reach_us = ?3 WHERE stream = ?1 AND partition = ?2")
        .bind(stream)
        .bind(i64::from(partition))
        .bind(reach)
        .execute(&mut *connection)
        .await
        .map_err(wrong())?;
    Ok(Some(start))
}
