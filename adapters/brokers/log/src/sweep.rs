//! Retention at work: steps of bounded size, each a transaction of its own, so that publishers and
//! commits get their turns in between.

use std::sync::Arc;
use std::time::Duration;

use keylane::broker::Partition;
use keylane::{Env, Error};
use keylane_sqlite::Database;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tokio_util::sync::CancellationToken;

use crate::error::failed;
use crate::number::{column, time, unsigned};
use crate::page::{Ends, ends};
use crate::retention::{Chunk, Held, Keep, horizon};
use crate::stream::{Stream, Streams};

/// Rows that one step looks at and deletes.
const STEP_CHUNKS: i64 = 256;

/// What retention needs.
pub(crate) struct Sweeper {
    pub database: Arc<Database>,
    pub env: Env,
    pub streams: Arc<Streams>,
    pub keep: Keep,
}

impl Sweeper {
    /// Sweeps at its pace until the broker is closed.
    pub(crate) async fn run(self, every: Duration, closing: CancellationToken) {
        loop {
            // Closing first: nothing is begun any more.
            tokio::select! { biased;
                () = closing.cancelled() => return,
                () = self.env.sleep(every) => {}
            }
            match self.sweep().await {
                Ok(0) => {}
                Ok(records) => tracing::debug!(records, "let go of old records"),
                Err(error) => tracing::warn!(%error, "retention goes on later"),
            }
        }
    }

    /// Lets go of all that is beyond the bounds now; returns how many records that were.
    pub(crate) async fn sweep(&self) -> Result<u64, Error> {
        let mut records = 0;
        for stream in self.streams.all().await? {
            let ends = ends(&mut *self.database.read().await?, &stream).await?;
            for ends in ends {
                while let Some(step) = self.step(&stream, ends.partition).await? {
                    records += step;
                }
            }
        }
        Ok(records)
    }

    /// One step in one partition: the number of records that went, `None` when none may go.
    async fn step(&self, stream: &Stream, partition: Partition) -> Result<Option<u64>, Error> {
        let wrong = || failed(format!("could not let go of old records of {}/{partition}", stream.name));
        let mut reader = self.database.read().await?;
        let ends = ends(&mut reader, stream).await?;
        let Some(Ends { low, next, bytes, .. }) = ends.into_iter().find(|ends| ends.partition == partition)
        else {
            return Ok(None);
        };
        let rows = sqlx::query(
            "SELECT first, count, bytes, appended_us FROM keylane_log_chunks
             WHERE stream = ?1 AND partition = ?2 ORDER BY first LIMIT ?3",
        )
        .bind(stream.id)
        .bind(i64::from(partition))
        .bind(STEP_CHUNKS)
        .fetch_all(&mut *reader)
        .await
        .map_err(wrong())?;
        drop(reader);
        let oldest: Vec<Chunk> = rows.iter().map(chunk).collect();
        let held = Held { records: next - low, bytes };
        let Some(horizon) = horizon(self.keep, self.env.wall(), held, &oldest) else { return Ok(None) };
        self.delete(stream, partition, horizon).await?;
        Ok(Some(horizon.saturating_sub(low)))
    }

    async fn delete(&self, stream: &Stream, partition: Partition, horizon: u64) -> Result<(), Error> {
        let wrong = || failed(format!("could not let go of old records of {}/{partition}", stream.name));
        let mut writer = self.database.write().await?;
        // The sum is taken here and not from what was read before: another process may sweep as well.
        sqlx::query(
            "UPDATE keylane_log_partitions SET low = max(low, ?3), bytes = bytes - (
                SELECT coalesce(sum(bytes), 0) FROM keylane_log_chunks
                WHERE stream = ?1 AND partition = ?2 AND first < ?3)
             WHERE stream = ?1 AND partition = ?2",
        )
        .bind(stream.id)
        .bind(i64::from(partition))
        .bind(column(horizon))
        .execute(&mut *writer)
        .await
        .map_err(wrong())?;
        sqlx::query("DELETE FROM keylane_log_chunks WHERE stream = ?1 AND partition = ?2 AND first < ?3")
            .bind(stream.id)
            .bind(i64::from(partition))
            .bind(column(horizon))
            .execute(&mut *writer)
            .await
            .map_err(wrong())?;
        Ok(writer.commit().await?)
    }
}

fn chunk(row: &SqliteRow) -> Chunk {
    Chunk {
        first: unsigned(row.get(0)),
        count: unsigned(row.get(1)),
        bytes: unsigned(row.get(2)),
        at: time(row.get(3)),
    }
}
