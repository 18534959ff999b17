//! Questions to the cluster that belong to no group: does a topic exist, what does a partition hold.
//!
//! A client of its own on a thread of its own, because these calls block, and a polling thread must
//! not. Questions wait in a bounded queue; one whose asker has gone is not asked.

use std::sync::Arc;
use std::time::Duration;

use keylane::broker::{Bounds, Partition, Reset};
use keylane::{Class, Env, Error, ErrorKind, Text};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};

use crate::error;
use crate::refusal::{self, Asking, Refusal};

/// Questions that may wait.
const QUESTIONS: usize = 64;

/// The asker's side.
#[derive(Debug)]
pub(crate) struct Probe {
    env: Env,
    limit: Duration,
    questions: mpsc::Sender<Question>,
}

type Question = Box<dyn FnOnce(&Client) + Send>;

struct Client {
    native: BaseConsumer<Asking>,
    limit: Duration,
}

impl Probe {
    /// Starts the thread; connects when first asked.
    pub(crate) fn start(mut native: ClientConfig, env: Env, limit: Duration) -> Result<Self, Error> {
        // The offset the next record gets, not the end of what is committed.
        native.set("isolation.level", "read_uncommitted");
        let native = BaseConsumer::from_config_and_context(&native, Asking::default())
            .map_err(|cause| error::error("setting up a kafka client", cause))?;
        let (questions, mut queue) = mpsc::channel::<Question>(QUESTIONS);
        let client = Client { native, limit };
        let thread = std::thread::Builder::new().name("kafka-probe".into()).spawn(move || {
            while let Some(question) = queue.blocking_recv() {
                question(&client);
            }
        });
        thread.map(|_| Self { env, limit, questions }).map_err(|cause| {
            Error::new(ErrorKind::Broker, "could not start a thread for a kafka client")
                .with_class(Class::Transient)
                .with_source(cause)
        })
    }

    /// How many partitions the topic has.
    pub(crate) async fn partitions(&self, topic: &Arc<str>) -> Result<u32, Error> {
        let asked = Arc::clone(topic);
        self.ask(topic, move |client| client.partitions(&asked)).await
    }

    /// What the log of a partition holds.
    pub(crate) async fn bounds(&self, topic: &Arc<str>, partition: Partition) -> Result<Bounds, Error> {
        let asked = Arc::clone(topic);
        self.ask(topic, move |client| client.bounds(&asked, partition)).await
    }

    /// Where a new group begins.
    pub(crate) async fn origin(
        &self,
        topic: &Arc<str>,
        partition: Partition,
        reset: Reset,
    ) -> Result<u64, Error> {
        let asked = Arc::clone(topic);
        self.ask(topic, move |client| client.origin(&asked, partition, reset)).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        topic: &str,
        question: impl FnOnce(&Client) -> KafkaResult<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let question: Question = Box::new(move |client| {
            if !answer.is_closed() {
                drop(answer.send(client.answer(question)));
            }
        });
        let asked = async {
            self.questions.send(question).await.map_err(|_| error::closed("kafka client"))?;
            answered.await.map_err(|_| error::closed("kafka client"))
        };
        // The calls below have this limit too; a moment more lets them say themselves what is wrong.
        let limit = self.limit + Duration::from_millis(500);
        let answer = self.env.timeout("asking kafka", limit, asked).await;
        answer.and_then(|answer| answer).map_err(|error| error.context(format!("topic {topic:?}")))?.map_err(
            |(cause, refusal)| match (cause.rdkafka_error_code(), refusal) {
                (Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic), _) => {
                    error::missing(topic)
                }
                (_, Some(refusal)) => error::refused(format!("asking kafka for topic {topic:?}"), refusal),
                _ => error::error(format!("asking kafka for topic {topic:?}"), cause),
            },
        )
    }
}

impl Client {
    fn answer<T>(
        &self,
        question: impl FnOnce(&Self) -> KafkaResult<T>,
    ) -> Result<T, (KafkaError, Option<Refusal>)> {
        let answer = question(self);
        if answer.is_ok() {
            refusal::forget(&self.native);
        }
        answer.map_err(|cause| {
            let refusal = refusal::behind(&self.native, &cause);
            (cause, refusal)
        })
    }

    fn partitions(&self, topic: &str) -> KafkaResult<u32> {
        let metadata = self.native.fetch_metadata(Some(topic), self.limit)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let missing = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
        let found = found.ok_or_else(|| missing.clone())?;
        if let Some(code) = found.error() {
            return Err(KafkaError::MetadataFetch(code.into()));
        }
        match u32::try_from(found.partitions().len()) {
            Ok(count) if count > 0 => Ok(count),
            _ => Err(missing),
        }
    }

    fn bounds(&self, topic: &str, partition: Partition) -> KafkaResult<Bounds> {
        let partitions = self.partitions(topic)?;
        let (low, high) = self.watermarks(topic, partition)?;
        // The topic's own id would tell one that was made anew; this client library can't ask for it.
        let cluster = self.native.client().fetch_cluster_id(self.limit);
        let identity = cluster.map(|cluster| Text::from(format!("{cluster}/{topic}")));
        Ok(Bounds { low, high, identity, partitions })
    }

    fn origin(&self, topic: &str, partition: Partition, reset: Reset) -> KafkaResult<u64> {
        let (low, high) = self.watermarks(topic, partition)?;
        let Reset::Time(time) = reset else {
            return Ok(if reset == Reset::Earliest { low } else { high });
        };
        let mut list = TopicPartitionList::with_capacity(1);
        // Kafka counts milliseconds; a part of one more must not be skipped, so it is rounded up.
        let millis = time.as_micros().div_euclid(1000) + i64::from(time.as_micros().rem_euclid(1000) > 0);
        list.add_partition_offset(topic, native(partition), Offset::Offset(millis.max(0)))?;
        let found = self.native.offsets_for_times(list, self.limit)?;
        let found = found.find_partition(topic, native(partition));
        let found = found.map(|element| element.error().map(|()| element.offset())).transpose()?;
        Ok(match found {
            // Nothing was written at or after that time.
            Some(Offset::Offset(offset)) => unsigned(offset),
            _ => high,
        })
    }

    fn watermarks(&self, topic: &str, partition: Partition) -> KafkaResult<(u64, u64)> {
        let (low, high) = self.native.fetch_watermarks(topic, native(partition), self.limit)?;
        Ok((unsigned(low), unsigned(high)))
    }
}

fn native(partition: Partition) -> i32 {
    i32::try_from(partition).unwrap_or(-1)
}

fn unsigned(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}
