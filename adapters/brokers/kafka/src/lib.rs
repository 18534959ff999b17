//! Apache Kafka for Keylane.
//!
//! # The journey of a record
//!
//! A thread of the operating system polls librdkafka, copies records into shared chunks (`delivery`)
//! and leaves them in the `consumer`'s inbox; `pull` cuts deliveries out of them. Assignment changes
//! go the same way and overtake records. Positions are committed by a second thread; questions about a
//! topic are asked by a third (`probe`), which all consumers of a broker share; it also learns why brokers
//! let nobody in (`refusal`).
//!
//! # What is promised, and how
//!
//! - Reading begins exactly where `start` says: a partition is fetched only from then on. The broker's
//!   committed offset is never read, and an offset that is gone is an error, never a jump.
//! - A revoked partition is given up after the runtime's handback, bounded by `revoke_max`, and its
//!   last base is committed before. Nothing is committed of a lost one.
//! - A paused partition is still polled for, so the member stays in its group however long it lasts.
//! - A record that can't be read (unknown compression, broken batch) stops the subscription: passing
//!   over it would be losing it.
//!
//! # What librdkafka does not do
//!
//! - A question that no broker could be asked is answered with "transport failure", whatever the reason; that
//!   comes as an event beside it, which is read before the error is made.
//! - An asynchronous commit never reports back through this client library, so commits block, on a
//!   thread of their own.
//! - Dropping a consumer takes long while brokers are away. It happens on the polling thread; closing
//!   waits for it only so long.
//! - A header's name that is not UTF-8 can't be read; it stands as `keylane-unreadable-header` here, and
//!   one with a zero byte ends there. What is published keeps both.
//! - A record without a value (a tombstone) and one with an empty value are both an empty payload here.

mod config;
mod connect;
mod consumer;
mod delivery;
mod error;
mod native;
mod probe;
mod publisher;
mod quiet;
mod refusal;

use std::sync::Arc;

pub use config::{Isolation, KafkaConfig, KafkaSubscription, Mechanism, Protocol, SaslConfig, TlsConfig};
use keylane::broker::{Broker, BrokerAdapter};
use keylane::{Env, Error};

/// The adapter, to be named by the service: `.broker(Kafka)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kafka;

impl BrokerAdapter for Kafka {
    const KIND: &'static str = "kafka";
    type Config = KafkaConfig;
    type Subscription = KafkaSubscription;

    async fn connect(&self, config: KafkaConfig, env: &Env) -> Result<Arc<dyn Broker>, Error> {
        Ok(Arc::new(connect::KafkaBroker::new(config, env.clone())?))
    }
}
