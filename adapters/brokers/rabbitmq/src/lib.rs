//! RabbitMQ for Keylane, by AMQP 0-9-1.
//!
//! # The journey of a message
//!
//! One task of a `consumer` supervises its connection: it opens it, checks the `topology`, consumes, and leaves
//! deliveries in the inbox, from which `pull` takes them. A second task tells the broker what became of them, in the
//! order of the calls. When anything of the connection ends, all of it is torn down, the epoch grows, what was
//! delivered is void ([`Change::Void`](keylane::broker::Change::Void)), and a new one is opened after a wait with jitter.
//! Publishing has a connection of its own: one that the broker blocks would hold up settlements as well.
//!
//! # What is promised, and how
//!
//! - A settlement goes to the channel that brought the delivery, or nowhere: a ticket of an older epoch is answered
//!   as lost. The broker would take its tag for another message's.
//! - Finished deliveries are acknowledged together up to the first one that still runs; what finishes behind it waits
//!   for it, but not for long.
//! - A pause stops handing out. What the broker has sent until then, at most `unsettled_max`, lies here.
//! - A message that can't be routed is an error of the publisher, and names the target.
//! - Topology is declared on request only; otherwise what has to be there is asked for, at each connection.
//!
//! # What RabbitMQ does not do
//!
//! - Nobody can ask a queue for its arguments by AMQP. What `declare = false` states of a queue (its kind, its limit of
//!   deliveries, that one consumer at a time is active) is the operator's word; with `declare = true` the broker
//!   compares it.
//! - A delivery has no deadline that could be put off: after the consumer timeout, 30 minutes by default, the broker
//!   closes the channel, and everything unsettled on it is delivered again. A longer handler needs a longer
//!   `consumer_timeout` of its queue.
//! - A table of headers has no order and holds each name once. Where that loses something, the header
//!   `keylane-headers` keeps it; headers of other types than text come as text.
//! - Bytes are not limited, only the number of unsettled messages.
//!
//! # What lapin does not do
//!
//! - An acknowledgement that is under way when its connection ends is never answered (seen on 4.12.3): the settler stops
//!   waiting when the epoch does.
//! - It reads the server's release and tells nobody. Where it matters, for a limit of deliveries to declare, it is asked for
//!   on a connection that says no more than hello: before 4.0 the number that means "no limit" makes the queue drop a
//!   message that comes back (seen on 3.10).
//!
//! # Give-back and failure
//!
//! A give-back is `basic.nack` with requeue, in all versions. Since 4.3 a quorum queue counts only `basic.reject` as a
//! failed delivery; before, it counts every return, a closed channel included, and no verb is cheaper. `basic.reject`
//! is used for what will never be handled, without requeue: the queue's dead-letter rule applies. From 4.0 a quorum queue
//! drops a message after 20 failed deliveries where it has no dead-letter target: such a subscription is refused
//! (rule T5).

mod address;
mod config;
mod connect;
mod consumer;
mod delivery;
mod error;
mod headers;
mod link;
mod message;
mod publisher;
mod subscription;
mod topology;
mod version;

use std::sync::Arc;

pub use config::{RabbitMqConfig, TlsConfig};
use keylane::broker::{Broker, BrokerAdapter};
use keylane::{Env, Error};
pub use subscription::{DeliveryLimit, KeyFrom, QueueKind, RabbitMqSubscription};

/// The adapter, to be named by the service: `.broker(RabbitMq)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RabbitMq;

impl BrokerAdapter for RabbitMq {
    const KIND: &'static str = "rabbitmq";
    type Config = RabbitMqConfig;
    type Subscription = RabbitMqSubscription;

    async fn connect(&self, config: RabbitMqConfig, env: &Env) -> Result<Arc<dyn Broker>, Error> {
        Ok(Arc::new(connect::RabbitMqBroker::new(&config, env.clone())?))
    }
}
