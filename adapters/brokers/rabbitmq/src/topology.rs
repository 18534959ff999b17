//! What has to be there before a subscription is read: asked for, or declared where that was asked for.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};

use keylane::{Error, ErrorKind};

use crate::address::Address;
use crate::error;
use crate::link::Links;
use crate::subscription::{DeliveryLimit, QueueKind, RabbitMqSubscription};
use crate::version::Version;

/// The exchange's type, of the plugin `rabbitmq_consistent_hash_exchange`.
const CONSISTENT_HASH: &str = "x-consistent-hash";
/// Each queue's share of the keys.
const WEIGHT: &str = "1";

/// What one subscription reads.
#[derive(Debug, Clone)]
pub(crate) struct Topology {
    /// Of an ordered subscription.
    exchange: Option<String>,
    pub(crate) queues: Vec<String>,
    of: RabbitMqSubscription,
    dead_letter: Option<Address>,
}

impl Topology {
    pub(crate) fn new(source: &str, of: RabbitMqSubscription) -> Result<Self, Error> {
        let dead_letter = of.dead_letter.as_deref().map(Address::parse).transpose()?;
        let wrong = |what: String| Err(Error::new(ErrorKind::Config, what));
        match (Address::parse(source)?, of.queues) {
            (Address::Queue(queue), None) => {
                Ok(Self { exchange: None, queues: vec![queue], of, dead_letter })
            }
            (Address::Exchange { name, routing_key: None }, Some(count)) => {
                let queues = (0..count).map(|number| format!("{name}.{number}")).collect();
                Ok(Self { exchange: Some(name), queues, of, dead_letter })
            }
            (Address::Queue(_), Some(_)) => wrong(format!(
                "source {source:?} is a queue, but `queues` asks for an ordered subscription; write /exchanges/NAME"
            )),
            (Address::Exchange { .. }, _) => wrong(format!(
                "source {source:?} is no queue; for an ordered subscription write /exchanges/NAME and `queues` in the table `rabbitmq`"
            )),
        }
    }

    pub(crate) fn is_ordered(&self) -> bool {
        self.exchange.is_some()
    }

    /// Asks for, or declares, what has to be there. A channel of its own: the first no ends it.
    pub(crate) async fn ensure(&self, links: &Links, connection: &Connection) -> Result<(), Error> {
        let asker = Asker { links, connection };
        match &self.dead_letter {
            Some(Address::Queue(queue)) => asker.has_queue(queue).await?,
            Some(Address::Exchange { name, .. }) => asker.has_exchange(name).await?,
            None => {}
        }
        if let Some(exchange) = &self.exchange {
            if self.of.declare {
                asker.declare_exchange(exchange).await?;
            } else {
                asker.has_exchange(exchange).await?;
            }
        }
        let arguments = self.arguments(self.limit_by_default(links).await?);
        for queue in &self.queues {
            if !self.of.declare {
                asker.has_queue(queue).await?;
                continue;
            }
            asker.declare_queue(queue, arguments.clone()).await?;
            if let Some(exchange) = &self.exchange {
                asker.bind(queue, exchange).await?;
            }
        }
        Ok(())
    }

    /// Whether queues of this server have a limit of deliveries unless they are told otherwise, where that matters.
    /// Before 4.0 they have none, and the number that takes it away there means that a message is dropped when it comes
    /// back for the first time (seen on 3.10).
    async fn limit_by_default(&self, links: &Links) -> Result<bool, Error> {
        let of = &self.of;
        let matters = of.declare && of.kind == QueueKind::Quorum && of.delivery_limit == DeliveryLimit::None;
        Ok(matters && links.server().await? >= Version(4, 0))
    }

    fn arguments(&self, limit_by_default: bool) -> FieldTable {
        let mut arguments = FieldTable::default();
        let text = |text: &str| AMQPValue::LongString(text.into());
        arguments.insert("x-queue-type".into(), text(self.of.kind.name()));
        if self.is_ordered() {
            arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        }
        if limit_by_default && self.of.delivery_limit == DeliveryLimit::None {
            arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(-1));
        }
        if let Some(dead_letter) = &self.dead_letter {
            let (exchange, key) = match dead_letter {
                Address::Queue(queue) => ("", Some(queue)),
                Address::Exchange { name, routing_key } => (&**name, routing_key.as_ref()),
            };
            arguments.insert("x-dead-letter-exchange".into(), text(exchange));
            if let Some(key) = key {
                arguments.insert("x-dead-letter-routing-key".into(), text(key));
            }
        }
        if let Some(limit) = self.of.consumer_timeout {
            let millis = i64::try_from(limit.duration().as_millis()).unwrap_or(i64::MAX);
            arguments.insert("x-consumer-timeout".into(), AMQPValue::LongLongInt(millis));
        }
        arguments
    }
}

/// Asks one thing on one channel.
pub(crate) struct Asker<'a> {
    pub(crate) links: &'a Links,
    pub(crate) connection: &'a Connection,
}

impl Asker<'_> {
    pub(crate) async fn has_queue(&self, queue: &str) -> Result<(), Error> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let asked = self
            .ask("asking for a rabbitmq queue", async |channel| {
                channel.queue_declare(queue.into(), options, FieldTable::default()).await.map(drop)
            })
            .await?;
        asked.map_err(|cause| not_there("queue", queue, cause))
    }

    pub(crate) async fn has_exchange(&self, exchange: &str) -> Result<(), Error> {
        let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let kind = ExchangeKind::Direct;
        let asked = self
            .ask("asking for a rabbitmq exchange", async |channel| {
                channel.exchange_declare(exchange.into(), kind.clone(), options, FieldTable::default()).await
            })
            .await?;
        // As sources and targets are written.
        asked.map_err(|cause| not_there("exchange", &format!("/exchanges/{exchange}"), cause))
    }

    async fn declare_exchange(&self, exchange: &str) -> Result<(), Error> {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let kind = ExchangeKind::Custom(CONSISTENT_HASH.into());
        let asked = self
            .ask("declaring a rabbitmq exchange", async |channel| {
                channel.exchange_declare(exchange.into(), kind.clone(), options, FieldTable::default()).await
            })
            .await?;
        let what =
            || format!("declaring the exchange {exchange:?} (plugin rabbitmq_consistent_hash_exchange)");
        asked.map_err(|cause| error::error(what(), cause))
    }

    async fn declare_queue(&self, queue: &str, arguments: FieldTable) -> Result<(), Error> {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let asked = self
            .ask("declaring a rabbitmq queue", async |channel| {
                channel.queue_declare(queue.into(), options, arguments).await.map(drop)
            })
            .await?;
        asked.map_err(|cause| error::error(format!("declaring the queue {queue:?}"), cause))
    }

    async fn bind(&self, queue: &str, exchange: &str) -> Result<(), Error> {
        let options = QueueBindOptions::default();
        let asked = self
            .ask("binding a rabbitmq queue", async |channel| {
                let bound = channel.queue_bind(
                    queue.into(),
                    exchange.into(),
                    WEIGHT.into(),
                    options,
                    FieldTable::default(),
                );
                bound.await
            })
            .await?;
        asked.map_err(|cause| error::error(format!("binding {queue:?} to {exchange:?}"), cause))
    }

    async fn ask(
        &self,
        what: &'static str,
        question: impl AsyncFnOnce(&Channel) -> lapin::Result<()>,
    ) -> Result<lapin::Result<()>, Error> {
        let channel = self.links.channel(self.connection).await?;
        let asked = self.links.request(what, question(&channel)).await?;
        if asked.is_ok() {
            // A courtesy: it ends with the connection at the latest.
            drop(self.links.request("closing a rabbitmq channel", channel.close(200, "asked".into())).await);
        }
        Ok(asked)
    }
}

fn not_there(thing: &str, name: &str, cause: lapin::Error) -> Error {
    if error::is_missing(&cause) {
        return error::missing(thing, name);
    }
    error::error(format!("asking for the {thing} {name:?}"), cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(source: &str, queues: Option<u16>) -> Result<Topology, Error> {
        Topology::new(source, RabbitMqSubscription { queues, ..RabbitMqSubscription::default() })
    }

    #[test]
    fn a_source_is_a_queue_or_an_exchange_with_its_queues() {
        assert_eq!(topology("orders", None).unwrap().queues, ["orders"]);
        assert_eq!(topology("/exchanges/o", Some(2)).unwrap().queues, ["o.0", "o.1"]);
        assert!(topology("orders", Some(2)).unwrap_err().to_string().contains("/exchanges/NAME"));
        assert!(topology("/exchanges/o", None).unwrap_err().to_string().contains("`queues`"));
        assert!(topology("/exchanges/o/r", Some(2)).is_err());
    }

    #[test]
    fn t5_what_was_said_of_the_limit_is_declared() {
        let of = RabbitMqSubscription {
            delivery_limit: DeliveryLimit::None,
            dead_letter: Some("dead".into()),
            ..RabbitMqSubscription::default()
        };
        let topology = Topology::new("orders", of).unwrap();
        let arguments = topology.arguments(true);
        assert_eq!(arguments.inner().get("x-delivery-limit"), Some(&AMQPValue::LongInt(-1)));
        assert_eq!(
            arguments.inner().get("x-dead-letter-routing-key"),
            Some(&AMQPValue::LongString("dead".into()))
        );
        assert!(!topology.arguments(false).contains_key("x-delivery-limit"));
    }
}
