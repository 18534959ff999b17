//! The server, topics with names of their own, and raw clients to look from outside.

use std::io::Write;
use std::sync::{Arc, Once};
use std::time::Duration;

use keylane::Env;
use keylane::broker::{Broker, BrokerAdapter, Consumer, ConsumerSpec, Outgoing, Publisher, Reset};
use keylane::config::{Period, Section};
use keylane::event::Record;
use keylane_kafka::{Kafka, KafkaConfig};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

/// Longer than anything here takes; only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server and one topic on it.
pub(crate) struct Cluster {
    pub(crate) servers: String,
    pub(crate) topic: Arc<str>,
    pub(crate) broker: Arc<dyn Broker>,
}

impl Cluster {
    /// A new topic on the real server, or nothing and one line that says so.
    pub(crate) async fn real(partitions: i32) -> Option<Self> {
        Self::with(partitions, &[]).await
    }

    pub(crate) async fn with(partitions: i32, settings: &[(&str, &str)]) -> Option<Self> {
        let servers = server()?;
        let topic = make_topic(&servers, partitions, settings).await;
        Some(Self { broker: connect(config(&servers)).await, servers, topic })
    }

    pub(crate) fn spec(&self, group: &str, settings: &str) -> ConsumerSpec {
        ConsumerSpec {
            subscription: "test".into(),
            source: Arc::clone(&self.topic),
            group: format!("{group}-{}", self.topic).into(),
            reset: Reset::Earliest,
            unsettled_max: 1024,
            prefetch_bytes_max: 8 << 20,
            settings: Section::parse(settings).unwrap(),
        }
    }

    pub(crate) async fn consumer(&self, group: &str) -> Arc<dyn Consumer> {
        self.broker.consumer(self.spec(group, "")).await.unwrap()
    }

    /// Writes records to one partition by a raw client; gives back the first offset.
    pub(crate) async fn write(&self, partition: i32, payloads: impl IntoIterator<Item = String>) -> u64 {
        self.write_at(partition, None, payloads).await
    }

    pub(crate) async fn write_at(
        &self,
        partition: i32,
        millis: Option<i64>,
        payloads: impl IntoIterator<Item = String>,
    ) -> u64 {
        let producer: FutureProducer = native(&self.servers).create().unwrap();
        let mut sent = Vec::new();
        for payload in payloads {
            let record = FutureRecord::<str, str>::to(&self.topic).partition(partition).payload(&payload);
            let record = if let Some(millis) = millis { record.timestamp(millis) } else { record };
            sent.push(producer.send_result(record).map_err(|(error, _)| error).unwrap());
        }
        let mut first = None;
        for sent in sent {
            let at = sent.await.unwrap().map_err(|(error, _)| error).unwrap();
            first.get_or_insert(at.offset);
        }
        u64::try_from(first.unwrap()).unwrap()
    }

    /// What the broker has committed for the group.
    pub(crate) async fn committed(&self, group: &str, partition: i32) -> Option<i64> {
        committed(&self.servers, &self.topic, &format!("{group}-{}", self.topic), partition).await
    }

    pub(crate) async fn publisher(&self) -> Arc<dyn Publisher> {
        self.broker.publisher().await.unwrap()
    }

    pub(crate) fn outgoing(&self, record: Record) -> Outgoing {
        Outgoing { target: self.topic.to_string(), record }
    }
}

/// The real server's address, or nothing and one line that says so.
pub(crate) fn server() -> Option<String> {
    static SKIPPED: Once = Once::new();
    let named = std::env::var("KEYLANE_TEST_KAFKA").ok();
    if named.is_none() {
        let line = "skipped: kafka tests need KEYLANE_TEST_KAFKA (tests/brokers/up starts a server)";
        SKIPPED.call_once(|| drop(writeln!(std::io::stderr(), "{line}")));
    }
    named
}

/// A new topic that all brokers know.
pub(crate) async fn make_topic(servers: &str, partitions: i32, settings: &[(&str, &str)]) -> Arc<str> {
    let topic: Arc<str> = format!("keylane-{}", uuid::Uuid::new_v4()).into();
    let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
    let new = settings.iter().fold(new, |new, (key, value)| new.set(key, value));
    let made = admin(servers).create_topics(&[new], &AdminOptions::new()).await.unwrap();
    made.into_iter().for_each(|made| assert!(made.is_ok(), "{made:?}"));
    let (servers, asked) = (servers.to_owned(), Arc::clone(&topic));
    let ready = move || {
        let client: BaseConsumer = native(&servers).create().unwrap();
        loop {
            let metadata = client.fetch_metadata(Some(&asked), PATIENCE).unwrap();
            let seen = metadata.topics()[0].partitions();
            let led = seen.iter().filter(|partition| partition.error().is_none() && partition.leader() >= 0);
            if led.count() == usize::try_from(partitions).unwrap() {
                return;
            }
        }
    };
    tokio::task::spawn_blocking(ready).await.unwrap();
    topic
}

pub(crate) async fn connect(config: KafkaConfig) -> Arc<dyn Broker> {
    Kafka.connect(config, &Env::tokio()).await.unwrap()
}

pub(crate) fn config(servers: &str) -> KafkaConfig {
    KafkaConfig {
        bootstrap_servers: vec![servers.to_owned()],
        request_max: Period::secs(20),
        ..KafkaConfig::default()
    }
}

pub(crate) fn native(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    config
}

pub(crate) fn admin(servers: &str) -> AdminClient<DefaultClientContext> {
    native(servers).create().unwrap()
}

pub(crate) fn numbered(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|n| n.to_string())
}

/// What the broker has committed for a group.
pub(crate) async fn committed(servers: &str, topic: &str, group: &str, partition: i32) -> Option<i64> {
    let mut config = native(servers);
    config.set("group.id", group);
    let topic = topic.to_owned();
    let ask = move || {
        let client: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition(&topic, partition);
        let list = client.committed_offsets(list, PATIENCE).unwrap();
        let offset = list.find_partition(&topic, partition).unwrap().offset();
        if let Offset::Offset(offset) = offset { Some(offset) } else { None }
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}
