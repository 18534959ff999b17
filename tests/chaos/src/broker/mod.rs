//! The broker under test, as the driver sees it: how a worker's configuration speaks of it, and what
//! publishes to it.

#[cfg(feature = "kafka")]
mod kafka;
mod log;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;

use std::sync::Arc;

use async_trait::async_trait;
use keylane::Error;
use keylane::broker::{Outgoing, Publisher};
use keylane::event::Record;

#[cfg(feature = "kafka")]
pub(crate) use kafka::KafkaSide;
pub(crate) use log::LogSide;
#[cfg(feature = "rabbitmq")]
pub(crate) use rabbitmq::RabbitMqSide;

use crate::workload::Numbered;

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BrokerKind {
    /// The embedded log, in the folder of the run.
    Log,
    /// Apache Kafka, a server of the run's own.
    Kafka,
    /// RabbitMQ, a server of the run's own.
    Rabbitmq,
}

/// The driver's view of the broker.
#[async_trait]
pub(crate) trait BrokerSide: Send + Sync {
    /// `[broker.main.KIND]` for a worker in this place, and the keys of `[subscription.chaos]` that it asks for.
    fn config(&self, place: usize) -> BrokerConfig;

    /// Where events are published.
    fn target(&self) -> String;

    /// What publishes, over a link that no fault touches.
    async fn publisher(&self) -> Result<Arc<dyn Publisher>, Error>;

    /// Whether it can be used.
    async fn answers(&self) -> bool {
        true
    }

    /// Whether events of a key come in the order in which they were published.
    fn ordered(&self) -> bool {
        true
    }

    /// The event as it is published.
    fn outgoing(&self, event: &Numbered) -> Outgoing {
        let payload = serde_json::to_vec(event).expect("a text and a number are JSON");
        let record = Record::new(payload)
            .with_key(event.key.clone())
            .with_header("event-id", event.id())
            .with_header("content-type", "application/json");
        Outgoing { target: self.target(), record }
    }
}

/// What a worker's configuration says of the broker.
#[derive(Debug)]
pub(crate) struct BrokerConfig {
    /// The table of the broker.
    pub(crate) broker: String,
    /// Tables below `[subscription.chaos]`.
    pub(crate) subscription: String,
    /// What is read.
    pub(crate) source: String,
}
