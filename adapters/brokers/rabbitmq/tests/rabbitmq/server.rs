//! The server, queues with names of their own, and a raw client to look from outside.

use std::io::Write;
use std::sync::{Arc, Once};
use std::time::Duration;

use keylane::Env;
use keylane::broker::{Broker, BrokerAdapter, ConsumerSpec, Reset};
use keylane::config::{Period, Section};
use keylane_rabbitmq::{RabbitMq, RabbitMqConfig};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};

use crate::proxy::Proxy;

/// Longer than anything here takes; only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The real server's address, or nothing and one line that says so.
pub(crate) fn server() -> Option<String> {
    static SKIPPED: Once = Once::new();
    let named = std::env::var("KEYLANE_TEST_RABBITMQ").ok();
    if named.is_none() {
        let line = "skipped: rabbitmq tests need KEYLANE_TEST_RABBITMQ (tests/brokers/up starts a server)";
        SKIPPED.call_once(|| drop(writeln!(std::io::stderr(), "{line}")));
    }
    named
}

pub(crate) fn config(uri: &str) -> RabbitMqConfig {
    RabbitMqConfig {
        uri: uri.to_owned().into(),
        heartbeat: Period::secs(2),
        connect_max: Period::secs(5),
        reconnect_max: Period::millis(500),
        publish_max: Period::secs(5),
        ..RabbitMqConfig::default()
    }
}

pub(crate) async fn connect(config: RabbitMqConfig) -> Arc<dyn Broker> {
    RabbitMq.connect(config, &Env::tokio()).await.unwrap()
}

pub(crate) fn spec(source: &str, settings: &str) -> ConsumerSpec {
    ConsumerSpec {
        subscription: "test".into(),
        source: source.into(),
        group: "test".into(),
        reset: Reset::Earliest,
        unsettled_max: 1000,
        prefetch_bytes_max: 16 << 20,
        settings: Section::parse(settings).unwrap(),
    }
}

/// A quorum queue without a limit.
pub(crate) const QUORUM: &str = "delivery_limit = 'none'";
pub(crate) const CLASSIC: &str = "kind = 'classic'";

/// A link to the server, and where it leads to.
pub(crate) fn link(uri: &str) -> Option<(Proxy, String)> {
    let mut to: AMQPUri = uri.parse().unwrap();
    let proxy = Proxy::to(&format!("{}:{}", to.authority.host, to.authority.port))?;
    to.authority.port = proxy.listen.rsplit_once(':').unwrap().1.parse().unwrap();
    Some((proxy, to.to_string()))
}

pub(crate) fn name() -> String {
    format!("keylane-{}", uuid::Uuid::new_v4())
}

/// A raw client.
pub(crate) struct Admin {
    _connection: Connection,
    pub(crate) channel: Channel,
}

impl Admin {
    pub(crate) async fn new(uri: &str) -> Self {
        let connection = Connection::connect(uri, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        Self { _connection: connection, channel }
    }

    /// A new queue of this kind with these further arguments.
    pub(crate) async fn queue(&self, kind: &str, arguments: &[(&str, AMQPValue)]) -> String {
        let name = name();
        self.declare(&name, kind, arguments).await;
        name
    }

    pub(crate) async fn declare(&self, name: &str, kind: &str, arguments: &[(&str, AMQPValue)]) {
        let mut table = FieldTable::default();
        table.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        for (name, value) in arguments {
            table.insert((*name).into(), value.clone());
        }
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(name.into(), options, table).await.unwrap();
    }

    /// A new consistent-hash exchange with its queues, each of them with a single active consumer.
    pub(crate) async fn ordered(&self, kind: &str, queues: u32) -> String {
        let name = name();
        let hash = ExchangeKind::Custom("x-consistent-hash".into());
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let (exchange, none) = (&*name, FieldTable::default);
        self.channel.exchange_declare(exchange.into(), hash, options, none()).await.unwrap();
        for number in 0..queues {
            let queue = format!("{name}.{number}");
            self.declare(&queue, kind, &[("x-single-active-consumer", AMQPValue::Boolean(true))]).await;
            let bound = self.channel.queue_bind(
                queue.into(),
                exchange.into(),
                "1".into(),
                QueueBindOptions::default(),
                none(),
            );
            bound.await.unwrap();
        }
        name
    }

    pub(crate) async fn delete(&self, queue: &str) {
        self.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    }

    /// Messages that nobody holds.
    pub(crate) async fn ready(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        self.channel
            .queue_declare(queue.into(), options, FieldTable::default())
            .await
            .unwrap()
            .message_count()
    }

    /// Waits until so many messages are held by nobody.
    pub(crate) async fn ready_becomes(&self, queue: &str, count: u32) {
        let becomes = async {
            while self.ready(queue).await != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, becomes)
            .await
            .unwrap_or_else(|_| panic!("{count} messages in {queue}"));
    }
}
