//! A quorum queue of RabbitMQ that all workers share: any event may come to any of them, so order is not promised.

use std::sync::Arc;

use async_trait::async_trait;
use keylane::broker::{BrokerAdapter, Publisher};
use keylane::{Env, Error};
use keylane_rabbitmq::{RabbitMq, RabbitMqConfig};

use super::{BrokerConfig, BrokerSide};
use crate::servers::listens;

const QUEUE: &str = "chaos";

/// The driver's view of the broker.
pub(crate) struct RabbitMqSide {
    uri: String,
    address: String,
    links: Vec<String>,
    env: Env,
}

impl RabbitMqSide {
    pub(crate) fn new(uri: &str, address: String, links: Vec<String>, env: &Env) -> Self {
        Self { uri: uri.to_owned(), address, links, env: env.clone() }
    }
}

#[async_trait]
impl BrokerSide for RabbitMqSide {
    fn config(&self, place: usize) -> BrokerConfig {
        BrokerConfig {
            broker: format!(
                "[broker.main.rabbitmq]\nuri = {:?}\nheartbeat = \"2s\"\nreconnect_max = \"1s\"\nrequest_max = \"3s\"\n\
                 connect_max = \"3s\"\n",
                self.links[place]
            ),
            // The workers declare the queue, before anything is published.
            subscription: "[subscription.chaos.rabbitmq]\ndeclare = true\ndelivery_limit = \"none\"\n"
                .to_owned(),
            source: QUEUE.to_owned(),
        }
    }

    fn target(&self) -> String {
        QUEUE.to_owned()
    }

    async fn publisher(&self) -> Result<Arc<dyn Publisher>, Error> {
        let config = RabbitMqConfig { uri: self.uri.clone().into(), ..RabbitMqConfig::default() };
        BrokerAdapter::connect(&RabbitMq, config, &self.env).await?.publisher().await
    }

    fn ordered(&self) -> bool {
        false
    }

    async fn answers(&self) -> bool {
        listens(&self.address).await
    }
}
