//! A topic of Kafka.
//!
//! Publishing goes through the adapter. Counting does not: this asks the cluster with a client of its own,
//! as an operator's tool would.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use keylane::broker::{Broker, BrokerAdapter, Publisher};
use keylane::config::Catalog;
use keylane::{Env, Error, ErrorKind};
use keylane_kafka::{Kafka, KafkaConfig};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::Topic;

/// Partitions of a topic that is made.
const PARTITIONS: i32 = 8;
/// How long the cluster may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
const AGAIN_AFTER: Duration = Duration::from_millis(100);

struct KafkaTopic {
    broker: Arc<dyn Broker>,
    servers: String,
    name: String,
    /// One by group, as a client belongs to one.
    clients: Mutex<BTreeMap<String, Arc<BaseConsumer>>>,
}

pub(super) fn enter(catalog: Catalog) -> Catalog {
    catalog.broker::<KafkaConfig, <Kafka as BrokerAdapter>::Subscription>(Kafka::KIND)
}

pub(super) async fn connect(config: KafkaConfig, name: &str, env: &Env) -> Result<Arc<dyn Topic>, Error> {
    let servers = config.bootstrap_servers.join(",");
    make(&servers, name).await?;
    let broker = BrokerAdapter::connect(&Kafka, config, env).await?;
    Ok(Arc::new(KafkaTopic { broker, servers, name: name.to_owned(), clients: Mutex::default() }))
}

/// Makes the topic, unless it is there.
async fn make(servers: &str, name: &str) -> Result<(), Error> {
    let admin: AdminClient<DefaultClientContext> = client(servers).create().map_err(failed)?;
    let topic = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(-1));
    let options = AdminOptions::new().request_timeout(Some(ANSWER_MAX));
    let made = admin.create_topics(&[topic], &options).await.map_err(failed)?;
    match made.into_iter().find_map(Result::err) {
        None | Some((_, RDKafkaErrorCode::TopicAlreadyExists)) => Ok(()),
        Some((_, code)) => Err(failed(KafkaError::AdminOp(code))),
    }
}

#[async_trait]
impl Topic for KafkaTopic {
    fn name(&self) -> &str {
        &self.name
    }

    fn place(&self) -> String {
        format!("topic {} of Kafka at {}", self.name, self.servers)
    }

    async fn publisher(&self) -> Result<Arc<dyn Publisher>, Error> {
        self.broker.publisher().await
    }

    async fn ends(&self) -> Result<BTreeMap<u32, (u64, u64)>, Error> {
        self.ask("orders-account", |consumer, name| {
            let bounds = |partition: i32| {
                let (low, high) = consumer.fetch_watermarks(name, partition, ANSWER_MAX)?;
                Ok((partition.unsigned_abs(), (low.unsigned_abs(), high.unsigned_abs())))
            };
            partitions(consumer, name)?.into_iter().map(bounds).collect()
        })
        .await
    }

    async fn positions(&self, group: &str) -> Result<BTreeMap<u32, u64>, Error> {
        self.ask(group, |consumer, name| {
            let mut asked = TopicPartitionList::new();
            for partition in partitions(consumer, name)? {
                asked.add_partition(name, partition);
            }
            let committed = consumer.committed_offsets(asked, ANSWER_MAX)?;
            let position = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
                let Offset::Offset(offset) = element.offset() else { return None };
                Some((element.partition().unsigned_abs(), offset.unsigned_abs()))
            };
            Ok(committed.elements().iter().filter_map(position).collect())
        })
        .await
    }
}

impl KafkaTopic {
    /// Asks on a thread where waiting is allowed. The client bears the group's name and never joins it. A topic that
    /// was made just now may have no leader yet: it is asked again.
    async fn ask<T: Send + 'static>(
        &self,
        group: &str,
        question: fn(&BaseConsumer, &str) -> Result<T, KafkaError>,
    ) -> Result<T, Error> {
        let began = Instant::now();
        loop {
            let (client, name) = (self.client(group).map_err(failed)?, self.name.clone());
            let asked = tokio::task::spawn_blocking(move || question(&client, &name)).await;
            let answer = asked.map_err(|error| {
                Error::new(ErrorKind::Broker, "a question to Kafka was given up").with_source(error)
            })?;
            match answer {
                Err(error) if has_no_leader(&error) && began.elapsed() < ANSWER_MAX => {
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
                answer => return answer.map_err(failed),
            }
        }
    }

    fn client(&self, group: &str) -> Result<Arc<BaseConsumer>, KafkaError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(group) {
            return Ok(client.clone());
        }
        let client: BaseConsumer = client(&self.servers).set("group.id", group).create()?;
        Ok(clients.entry(group.to_owned()).or_insert(Arc::new(client)).clone())
    }
}

fn partitions(consumer: &BaseConsumer, name: &str) -> Result<Vec<i32>, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(name), ANSWER_MAX)?;
    let topics = metadata.topics().iter().filter(|topic| topic.name() == name);
    Ok(topics.flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect())
}

fn has_no_leader(error: &KafkaError) -> bool {
    let passing = [RDKafkaErrorCode::NotLeaderForPartition, RDKafkaErrorCode::LeaderNotAvailable];
    error.rdkafka_error_code().is_some_and(|code| passing.contains(&code))
}

fn client(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    config
}

fn failed(error: KafkaError) -> Error {
    Error::new(ErrorKind::Broker, "kafka did not say how far its topic is; is it up?").with_source(error)
}
