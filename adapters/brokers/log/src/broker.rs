//! A connected log: the factory of consumers and publishers, and what only a log can do.

use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use keylane::broker::{Bounds, Broker, Capabilities, Consumer, ConsumerSpec, Partition, Publisher, Settles};
use keylane::config::Section;
use keylane::env::Timestamp;
use keylane::{Env, Error, ErrorKind};
use keylane_sqlite::Database;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::append::{self, JOBS_MAX, Job};
use crate::config::LogConfig;
use crate::consumer::LogConsumer;
use crate::error::{closed, unknown};
use crate::group::{self, Seat};
use crate::member::Member;
use crate::page::{ends, offset_at};
use crate::publisher::LogPublisher;
use crate::replay::{self, Position, Replayed};
use crate::shared::Shared;
use crate::stream::{PARTITIONS_MAX, Stream, Streams};
use crate::sweep::Sweeper;

/// The tables, version by version.
const MIGRATIONS: &[keylane_sqlite::database::Migration] = &[(1, include_str!("../migrations/0001_log.sql"))];

/// What every subscription of a log can count on.
pub(crate) fn capabilities() -> Capabilities {
    Capabilities {
        kind: "log",
        partitions: true,
        ordered: true,
        settles: Settles::Position,
        attempts: false,
        delay: None,
        extension_max: None,
        dead_letters: false,
        seek: true,
        redelivery_horizon: None,
    }
}

/// A log in one database. Everything that it does in the background ends with [`close`](Broker::close),
/// with who needs it, or with the environment.
pub struct LogBroker {
    database: Arc<Database>,
    env: Env,
    config: LogConfig,
    streams: Arc<Streams>,
    jobs: mpsc::Sender<Job>,
    closing: CancellationToken,
    /// Dropping the log ends its sweeper. Its consumers and publishers live on, and with them what they need.
    _sweeping: DropGuard,
}

impl LogBroker {
    /// A log in a database that is already open, such as a service's own; `config.path` plays no part.
    ///
    /// # Errors
    /// Permanent `Config` for a configured stream name that can't be one; `Store` or `Broker` when the
    /// tables can't be brought up to date.
    pub async fn over(database: Arc<Database>, config: LogConfig, env: &Env) -> Result<Self, Error> {
        database.migrate("log", MIGRATIONS).await?;
        let streams = Arc::new(Streams::new(database.clone(), env.clone(), config.partitions()));
        for name in &config.streams {
            streams.make(name, None).await?;
        }
        let (jobs, queue) = mpsc::channel(JOBS_MAX);
        let closing = CancellationToken::new();
        env.spawn("log-append", append::run(database.clone(), env.clone(), queue, closing.clone()));
        let sweeping = closing.child_token();
        let _sweeping = sweeping.clone().drop_guard();
        let log = Self { database, env: env.clone(), config, streams, jobs, closing, _sweeping };
        let sweeper = log.sweeper();
        if sweeper.keep.bounded() {
            env.spawn("log-sweep", sweeper.run(log.config.sweep_every.duration(), sweeping));
        }
        Ok(log)
    }

    /// Makes a stream with so many partitions, unless there is one of that name, which keeps what it has.
    ///
    /// # Errors
    /// Permanent `Config` when the name can't be one or the partitions are too many.
    pub async fn create_stream(&self, name: &str, partitions: NonZeroU32) -> Result<(), Error> {
        if partitions.get() > PARTITIONS_MAX {
            let what = format!("stream `{name}` with {partitions} partitions; the most is {PARTITIONS_MAX}");
            return Err(Error::new(ErrorKind::Config, what));
        }
        self.streams.make(name, Some(partitions)).await.map(drop)
    }

    /// Deletes a stream, all its records and all groups' positions in it; false when there is none. One
    /// that is made later under the same name has another identity, by which rule L2 knows it.
    ///
    /// # Errors
    /// When the database can't be written.
    pub async fn delete_stream(&self, name: &str) -> Result<bool, Error> {
        self.streams.delete(name).await
    }

    /// The names of all streams, in order.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn stream_names(&self) -> Result<Vec<String>, Error> {
        Ok(self.streams.all().await?.iter().map(|stream| stream.name.to_string()).collect())
    }

    /// What a stream holds, partition by partition.
    ///
    /// # Errors
    /// Permanent when there is no such stream.
    pub async fn bounds(&self, stream: &str) -> Result<Vec<Bounds>, Error> {
        let stream = self.stream(stream).await?;
        let ends = ends(&mut *self.database.read().await?, &stream).await?;
        let bounds = |(low, high)| {
            let identity = Some(stream.identity.clone());
            Bounds { low, high, identity, partitions: stream.partitions.get() }
        };
        Ok(ends.into_iter().map(|ends| bounds((ends.low, ends.next))).collect())
    }

    /// How far a group has come, by partition, as its consumers last wrote it; partitions of which it
    /// never committed anything are left out.
    ///
    /// # Errors
    /// Permanent when there is no such stream.
    pub async fn group_positions(&self, stream: &str, group: &str) -> Result<Vec<(Partition, u64)>, Error> {
        let stream = self.stream(stream).await?;
        group::positions(&mut *self.database.read().await?, &stream, group).await
    }

    /// In each partition the position of the first record written at or after a time; the end where there
    /// is none.
    ///
    /// # Errors
    /// Permanent when there is no such stream.
    pub async fn positions_at(&self, stream: &str, since: Timestamp) -> Result<Vec<Position>, Error> {
        let stream = self.stream(stream).await?;
        let mut reader = self.database.read().await?;
        let mut positions = Vec::new();
        for ends in ends(&mut reader, &stream).await? {
            let found = offset_at(&mut reader, &stream, ends.partition, since).await?;
            let offset = found.unwrap_or(ends.next);
            positions.push(Position { stream: stream.name.to_string(), partition: ends.partition, offset });
        }
        Ok(positions)
    }

    /// At most `limit` records from each position. The same positions give the same records in the same
    /// order, on any node; across positions there is no order.
    ///
    /// # Errors
    /// Permanent when a stream or partition is not there; `LogChanged` when retention has taken what a
    /// position asks for.
    pub async fn read(&self, positions: &[Position], limit: usize) -> Result<Vec<Replayed>, Error> {
        replay::read(&self.database, &self.streams, positions, limit).await
    }

    /// Lets go now of what is beyond the configured bounds; returns how many records that were.
    ///
    /// # Errors
    /// When the database can't be written; what went before stays gone.
    pub async fn sweep(&self) -> Result<u64, Error> {
        self.sweeper().sweep().await
    }

    fn sweeper(&self) -> Sweeper {
        Sweeper {
            database: self.database.clone(),
            env: self.env.clone(),
            streams: self.streams.clone(),
            keep: self.config.keep(),
        }
    }

    async fn stream(&self, name: &str) -> Result<Arc<Stream>, Error> {
        self.streams.find(name).await?.ok_or_else(|| unknown(name))
    }
}

#[async_trait]
impl Broker for LogBroker {
    fn capabilities(&self, _of: &Section) -> Result<Capabilities, Error> {
        Ok(capabilities())
    }

    async fn consumer(&self, spec: ConsumerSpec) -> Result<Arc<dyn Consumer>, Error> {
        if self.closing.is_cancelled() {
            return Err(closed("the log"));
        }
        // What is remembered may be of a stream that was deleted since.
        self.streams.forget(&spec.source);
        let stream = (*self.stream(&spec.source).await?).clone();
        let seat = Seat {
            group: group::open(&self.database, &stream, &spec.group).await?,
            name: spec.group.to_string(),
            member: self.env.uuid(),
            expiry: self.config.member_expiry.duration(),
            stream: stream.clone(),
        };
        let shared = Arc::new(Shared::new(stream.clone(), self.closing.child_token()));
        let member = Member {
            database: self.database.clone(),
            env: self.env.clone(),
            seat,
            shared: shared.clone(),
            handback_max: self.config.handback_max.duration(),
        };
        self.env.spawn("log-member", member.run());
        Ok(Arc::new(LogConsumer {
            database: self.database.clone(),
            env: self.env.clone(),
            stream,
            reset: spec.reset,
            shared,
            prefetch_max: spec.prefetch_bytes_max,
            poll_max: self.config.poll_max.duration(),
        }))
    }

    async fn publisher(&self) -> Result<Arc<dyn Publisher>, Error> {
        if self.closing.is_cancelled() {
            return Err(closed("the log"));
        }
        // Publishers begin their turns at different partitions.
        let turn = u32::try_from(self.env.random() >> 32).unwrap_or_default();
        Ok(Arc::new(LogPublisher {
            env: self.env.clone(),
            streams: self.streams.clone(),
            jobs: self.jobs.clone(),
            limits: self.config.limits(),
            turn: turn.into(),
            closed: self.closing.child_token(),
        }))
    }

    /// What was published before is appended; consumers leave their groups, in the background.
    async fn close(&self) {
        self.closing.cancel();
    }
}
