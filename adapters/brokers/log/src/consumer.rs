//! Reading one stream as a member of one group.
//!
//! Pulling neither polls hotly nor misses an append. Commits of this process wake it. Those of other
//! processes it finds by looking at the ends of its partitions, in waits that grow from 5 ms to the
//! configured `poll_max`: one small read, which is what asking SQLite's `data_version` costs as well, and
//! that would keep one of the few reading connections to itself.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::{Base, Bounds, Capabilities, Consumer, Partition, Pulled, Reset, Start};
use keylane::delivery::{Settled, Ticket};
use keylane::{Class, Env, Error, ErrorKind};
use keylane_sqlite::Database;
use keylane_sqlite::database::Reader;

use crate::broker::capabilities;
use crate::error::malformed;
use crate::page::{Ends, chunks, ends, offset_at};
use crate::reading::Want;
use crate::shared::Shared;
use crate::stream::Stream;

/// The first wait for another process's append.
const POLL_MIN: Duration = Duration::from_millis(5);
/// Bytes of one page of one partition.
const PAGE_MAX: usize = 1024 * 1024;

pub(crate) struct LogConsumer {
    pub database: Arc<Database>,
    pub env: Env,
    pub stream: Stream,
    pub reset: Reset,
    pub shared: Arc<Shared>,
    /// Bytes that may lie here unpulled; one page may exceed it.
    pub prefetch_max: usize,
    pub poll_max: Duration,
}

impl LogConsumer {
    /// Fetches what there is for the partitions that ran out; false when there is nothing to hand out.
    async fn fetch(&self) -> Result<bool, Error> {
        let mut reader = self.database.read().await?;
        let mut wanted = self.shared.wanted();
        if wanted.is_empty() {
            if self.shared.observe(&ends(&mut reader, &self.stream).await?) {
                return Ok(true);
            }
            wanted = self.shared.wanted();
        }
        let page = (self.prefetch_max / self.stream.partitions.get() as usize).min(PAGE_MAX);
        for (fetched, want) in wanted.iter().enumerate() {
            if fetched > 0 && self.shared.buffered() >= self.prefetch_max {
                break;
            }
            let page = chunks(&mut reader, &self.stream, want.partition, want.from, page as u64).await?;
            if page.is_empty() && self.is_hole(&mut reader, *want).await? {
                self.shared.breaks(*want, malformed(&self.stream, want.partition, want.from));
            } else {
                self.shared.install(*want, page);
            }
        }
        Ok(!wanted.is_empty())
    }

    /// A page that should be there is not: retention took it just now, which the next look at the ends
    /// finds, or the file has a hole.
    async fn is_hole(&self, reader: &mut Reader<'_>, want: Want) -> Result<bool, Error> {
        let Ends { low, next, .. } = self.ends_of(reader, want.partition).await?;
        Ok((low..next).contains(&want.from))
    }

    async fn ends_of(&self, reader: &mut Reader<'_>, partition: Partition) -> Result<Ends, Error> {
        let ends = ends(reader, &self.stream).await?;
        ends.into_iter().find(|ends| ends.partition == partition).ok_or_else(|| self.no_such(partition))
    }

    fn no_such(&self, partition: Partition) -> Error {
        let what = format!(
            "stream `{}` has {} partitions, none of them {partition}",
            self.stream.name, self.stream.partitions
        );
        Error::new(ErrorKind::Broker, what).with_class(Class::Permanent)
    }
}

#[async_trait]
impl Consumer for LogConsumer {
    fn capabilities(&self) -> Capabilities {
        capabilities()
    }

    async fn pull(&self, credits: usize) -> Result<Pulled, Error> {
        let mut changed = self.database.changed();
        let mut wait = POLL_MIN;
        loop {
            // Marked as seen before looking: what is appended after the look ends the wait below.
            changed.mark_unchanged();
            if let Some(pulled) = self.shared.next(credits)? {
                return Ok(pulled);
            }
            if credits == 0 || !self.shared.any_active() {
                self.shared.woken().await;
                continue;
            }
            if self.fetch().await? {
                continue;
            }
            // All three only wait. Changes first, as in `next`.
            tokio::select! { biased;
                () = self.shared.woken() => {}
                _ = changed.changed() => {}
                () = self.env.sleep(wait) => wait = (wait * 2).min(self.poll_max),
            }
        }
    }

    async fn start(&self, starts: Vec<Start>) -> Result<(), Error> {
        if let Some(start) = starts.iter().find(|start| start.partition >= self.stream.partitions.get()) {
            return Err(self.no_such(start.partition));
        }
        self.shared.start(starts);
        Ok(())
    }

    async fn bounds(&self, partition: Partition) -> Result<Bounds, Error> {
        let mut reader = self.database.read().await?;
        let Ends { low, next, .. } = self.ends_of(&mut reader, partition).await?;
        let identity = Some(self.stream.identity.clone());
        Ok(Bounds { low, high: next, identity, partitions: self.stream.partitions.get() })
    }

    async fn origin(&self, partition: Partition) -> Result<u64, Error> {
        let mut reader = self.database.read().await?;
        let Ends { low, next, .. } = self.ends_of(&mut reader, partition).await?;
        match self.reset {
            Reset::Earliest => Ok(low),
            Reset::Latest => Ok(next),
            Reset::Time(since) => {
                Ok(offset_at(&mut reader, &self.stream, partition, since).await?.unwrap_or(next))
            }
        }
    }

    /// A log has positions; a single delivery has nothing to settle.
    async fn settle(&self, _batch: Vec<Settled>) -> Result<Vec<u64>, Error> {
        Ok(Vec::new())
    }

    /// Written within half a second, at a handback and when the consumer closes. A crash loses no more
    /// than that, and nobody reads on from it but tools: the runtime's position is its store's.
    async fn commit(&self, bases: Vec<Base>) -> Result<(), Error> {
        self.shared.commit(bases);
        Ok(())
    }

    /// There is no deadline to put off.
    async fn extend(&self, _tickets: &[Ticket], _by: Duration) -> Result<(), Error> {
        Ok(())
    }

    fn pause(&self, partitions: Option<&[Partition]>) {
        self.shared.pause(partitions, true);
    }

    fn resume(&self, partitions: Option<&[Partition]>) {
        self.shared.pause(partitions, false);
    }

    async fn close(&self, within: Duration) {
        self.shared.close();
        if let Err(error) = self.env.timeout("leaving the group", within, self.shared.left()).await {
            tracing::warn!(stream = %self.stream.name, %error, "closed without leaving the group");
        }
    }
}

/// A consumer that is dropped leaves its group too, in the background.
impl Drop for LogConsumer {
    fn drop(&mut self) {
        self.shared.close();
    }
}
