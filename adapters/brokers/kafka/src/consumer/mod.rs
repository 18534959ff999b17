//! Reading a topic as a member of a group.
//!
//! Two threads of the operating system stand behind one consumer: one polls ([`poller`]), one commits
//! ([`commits`]). This handle reaches them over the [`inbox`], the table of commits and a bounded queue
//! of start commands. Both own the native consumer; the polling thread drops it, after the committing
//! one has ended, because that can take long while the broker is away.

mod assignment;
mod commits;
mod inbox;
mod member;
mod pauses;
mod poller;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::{
    Base, Bounds, BrokerAdapter, Capabilities, Consumer, Partition, Pulled, Reset, Settles, Start,
};
use keylane::delivery::{Settled, Settlement, Ticket};
use keylane::{Class, Env, Error, ErrorKind};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::sync::{mpsc, watch};

use crate::delivery::Copier;
use crate::error::{self, Verdict, verdict};
use crate::probe::Probe;
use assignment::Assignment;
use commits::Commits;
use inbox::{Found, Inbox};
use member::Member;
use poller::{Poller, StartCommand};

/// Start commands that may wait for the polling thread.
const COMMANDS: usize = 16;

/// What a consumer is made of.
pub(crate) struct Parts {
    pub(crate) native: ClientConfig,
    pub(crate) env: Env,
    pub(crate) probe: Arc<Probe>,
    pub(crate) topic: Arc<str>,
    pub(crate) reset: Reset,
    /// Bytes read ahead of whoever pulls, beside what librdkafka holds.
    pub(crate) ahead_max: usize,
    pub(crate) headers: bool,
    pub(crate) revoke_limit: Duration,
    pub(crate) request_limit: Duration,
}

/// A member of a group over one topic.
pub(crate) struct KafkaConsumer {
    env: Env,
    probe: Arc<Probe>,
    topic: Arc<str>,
    reset: Reset,
    request_limit: Duration,
    inbox: Arc<Inbox>,
    commits: Arc<Commits>,
    commands: mpsc::Sender<StartCommand>,
    stop: Arc<AtomicBool>,
    ended: watch::Receiver<()>,
}

impl KafkaConsumer {
    /// Joins the group. The topic is known to exist.
    pub(crate) fn join(parts: Parts) -> Result<Self, Error> {
        let Parts { native, env, probe, topic, reset, ahead_max, headers, revoke_limit, request_limit } =
            parts;
        let what = || format!("joining the group that reads {topic:?}");
        let consumer = BaseConsumer::from_config_and_context(&native, Member::default())
            .map_err(|cause| error::error(what(), cause))?;
        consumer.subscribe(&[&topic]).map_err(|cause| error::error(what(), cause))?;
        let (commands, queue) = mpsc::channel(COMMANDS);
        let (ending, ended) = watch::channel(());
        let this = Self {
            env,
            probe,
            reset,
            request_limit,
            inbox: Arc::new(Inbox::new(ahead_max)),
            commits: Arc::default(),
            commands,
            stop: Arc::default(),
            ended,
            topic: Arc::clone(&topic),
        };
        let poller = Poller {
            consumer: Arc::new(consumer),
            inbox: Arc::clone(&this.inbox),
            assignment: Assignment::new(topic, Arc::clone(&this.commits), revoke_limit, request_limit),
            commands: queue,
            stop: Arc::clone(&this.stop),
            copier: Copier::new(headers),
            full: None,
            broken: false,
        };
        this.spawn(poller, ending)?;
        Ok(this)
    }

    /// Starts both threads. They end by `stop`; nobody joins the polling one, since it may have to
    /// wait for a broker that is away.
    fn spawn(&self, mut poller: Poller, ending: watch::Sender<()>) -> Result<(), Error> {
        let (inbox, commits) = (Arc::clone(&self.inbox), Arc::clone(&self.commits));
        let failed = |cause| {
            Error::new(ErrorKind::Broker, "could not start a thread for a kafka consumer")
                .with_class(Class::Transient)
                .with_source(cause)
        };
        let (committing, consumer, topic) =
            (Arc::clone(&commits), Arc::clone(&poller.consumer), Arc::clone(&self.topic));
        let committer = std::thread::Builder::new()
            .name("kafka-commit".into())
            .spawn(move || commits::run(&committing, &consumer, &topic))
            .map_err(failed)?;
        let polling = std::thread::Builder::new().name("kafka-poll".into()).spawn(move || {
            let inbox = Ending { inbox, commits };
            poller.run();
            drop(inbox);
            if committer.join().is_err() {
                tracing::error!("the committing thread of a kafka consumer panicked");
            }
            poller.consumer.context().leave();
            drop(poller);
            drop(ending);
        });
        polling.map(drop).map_err(|cause| {
            self.commits.end();
            failed(cause)
        })
    }

    /// An error that the polling thread saw, once it is sure.
    async fn confirm(&self, cause: rdkafka::error::KafkaError) -> Result<(), Error> {
        let verdict = verdict(&cause);
        if verdict == Verdict::Gone {
            // Believed only when the broker says so on being asked.
            self.probe.partitions(&self.topic).await?;
            self.inbox.forgive();
            return Ok(());
        }
        if verdict != Verdict::Final {
            self.inbox.forgive();
        }
        Err(error::error(format!("reading {:?}", self.topic), cause))
    }

    fn tell_to_stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.inbox.nudge();
    }
}

/// Whatever ends the polling thread, also a panic, is told to whoever waits for it.
struct Ending {
    inbox: Arc<Inbox>,
    commits: Arc<Commits>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.inbox.end();
        self.commits.end();
    }
}

#[async_trait]
impl Consumer for KafkaConsumer {
    fn capabilities(&self) -> Capabilities {
        capabilities()
    }

    async fn pull(&self, credits: usize) -> Result<Pulled, Error> {
        loop {
            match self.inbox.take(credits) {
                Found::Pulled(pulled) => return Ok(pulled),
                Found::Fault(cause) => self.confirm(cause).await?,
                Found::Ended => return Err(error::closed("kafka consumer")),
                Found::Nothing => self.inbox.arrived().await,
            }
        }
    }

    async fn start(&self, starts: Vec<Start>) -> Result<(), Error> {
        let (done, answer) = tokio::sync::oneshot::channel();
        let gone = || error::closed("kafka consumer");
        let started = async {
            self.commands.send(StartCommand { starts, done }).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())
        };
        let started =
            self.env.timeout("starting kafka partitions", self.request_limit * 2, started).await??;
        started.map_err(|cause| error::error(format!("starting partitions of {:?}", self.topic), cause))
    }

    async fn bounds(&self, partition: Partition) -> Result<Bounds, Error> {
        self.probe.bounds(&self.topic, partition).await
    }

    async fn origin(&self, partition: Partition) -> Result<u64, Error> {
        self.probe.origin(&self.topic, partition, self.reset).await
    }

    async fn settle(&self, batch: Vec<Settled>) -> Result<Vec<u64>, Error> {
        // What is done is said by `commit`, and what is not comes again because of it.
        let asks = |settled: &Settled| match settled.settlement {
            Settlement::Ack | Settlement::Release => None,
            Settlement::RetryLater(_) => Some("can't put a delivery off"),
            Settlement::Reject => Some("has no dead letters of its own"),
        };
        batch.iter().find_map(asks).map_or(Ok(Vec::new()), |what| Err(unsupported(what)))
    }

    async fn commit(&self, bases: Vec<Base>) -> Result<(), Error> {
        let Some(committed) = self.commits.request(&bases)? else { return Ok(()) };
        let said = self.env.timeout("committing kafka positions", self.request_limit, committed).await?;
        commits::outcome(&self.topic, said)
    }

    async fn extend(&self, _tickets: &[Ticket], _by: Duration) -> Result<(), Error> {
        Err(unsupported("has no deadline per delivery to extend"))
    }

    fn pause(&self, partitions: Option<&[Partition]>) {
        self.inbox.pause(partitions);
    }

    fn resume(&self, partitions: Option<&[Partition]>) {
        self.inbox.resume(partitions);
    }

    async fn close(&self, within: Duration) {
        self.tell_to_stop();
        let mut ended = self.ended.clone();
        // The channel's end is the signal.
        if self.env.timeout("leaving the kafka group", within, ended.changed()).await.is_err() {
            tracing::warn!(
                topic = &*self.topic,
                ?within,
                "kafka: leaving the group goes on in the background"
            );
        }
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        self.tell_to_stop();
    }
}

/// What Kafka can do.
pub(crate) fn capabilities() -> Capabilities {
    Capabilities {
        kind: crate::Kafka::KIND,
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

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("kafka {what}"))
}

/// Kafka's own number of a partition.
fn native(partition: Partition) -> i32 {
    i32::try_from(partition).unwrap_or(-1)
}
