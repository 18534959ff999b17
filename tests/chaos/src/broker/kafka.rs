//! A topic of Kafka. Each worker has a listener of the broker for itself, which tells it to go on by its own link.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::{BrokerAdapter, Publisher};
use keylane::config::Period;
use keylane::{Env, Error, ErrorKind};
use keylane_kafka::{Kafka, KafkaConfig};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use super::{BrokerConfig, BrokerSide};
use crate::servers::listens;

const TOPIC: &str = "chaos";
const PARTITIONS: i32 = 12;

/// The driver's view of the broker.
pub(crate) struct KafkaSide {
    address: String,
    links: Vec<String>,
    session: Duration,
    env: Env,
}

impl KafkaSide {
    /// Makes the topic.
    pub(crate) async fn make(
        address: &str,
        links: Vec<String>,
        session: Duration,
        env: &Env,
    ) -> Result<Self, Error> {
        let mut client = ClientConfig::new();
        let admin: AdminClient<DefaultClientContext> =
            client.set("bootstrap.servers", address).create().map_err(failed)?;
        let topic = NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Fixed(1));
        let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(30)));
        let made = admin.create_topics(&[topic], &options).await.map_err(failed)?;
        if let Some((_, code)) = made.into_iter().find_map(Result::err) {
            return Err(failed(rdkafka::error::KafkaError::AdminOp(code)));
        }
        Ok(Self { address: address.to_owned(), links, session, env: env.clone() })
    }
}

#[async_trait]
impl BrokerSide for KafkaSide {
    fn config(&self, place: usize) -> BrokerConfig {
        let session = self.session.as_millis();
        BrokerConfig {
            broker: format!("[broker.main.kafka]\nbootstrap_servers = [{:?}]\n", self.links[place]),
            subscription: format!(
                "[subscription.chaos.kafka]\nsession = \"{session}ms\"\nrevoke_max = \"{session}ms\"\n"
            ),
            source: TOPIC.to_owned(),
        }
    }

    fn target(&self) -> String {
        TOPIC.to_owned()
    }

    async fn publisher(&self) -> Result<Arc<dyn Publisher>, Error> {
        let config = KafkaConfig {
            bootstrap_servers: vec![self.address.clone()],
            publish_max: Period::secs(20),
            ..KafkaConfig::default()
        };
        BrokerAdapter::connect(&Kafka, config, &self.env).await?.publisher().await
    }

    async fn answers(&self) -> bool {
        listens(&self.address).await
    }
}

fn failed(error: rdkafka::error::KafkaError) -> Error {
    Error::new(ErrorKind::Broker, "the topic was not made").with_source(error)
}
