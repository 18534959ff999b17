//! `[subscription.NAME.rabbitmq]`.

use keylane::config::{Component, Findings, Period, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Address;

/// How one subscription reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RabbitMqSubscription {
    /// What the queues are.
    pub kind: QueueKind,

    /// Makes the subscription an ordered one: `source` is a consistent-hash exchange, written `/exchanges/NAME`, that is
    /// bound to this many queues, `NAME.0`, `NAME.1` and so on, each with a single active consumer. Left out: `source` is
    /// a queue, which many consumers share.
    #[schemars(range(min = 1, max = 256))]
    pub queues: Option<u16>,

    /// Declare what is not there: queues, and for ordered subscriptions exchange and bindings. What is there is compared.
    /// Otherwise it has to be there.
    pub declare: bool,

    /// How often the broker may deliver a message in vain. From 4.0 on a quorum queue has a limit, and without a
    /// dead-letter target it then drops the message. So a quorum queue needs either a `dead_letter` or the word that
    /// there is no limit.
    pub delivery_limit: DeliveryLimit,

    /// Where the broker puts what is rejected or was delivered too often: a queue, or `/exchanges/NAME/ROUTING-KEY`. It
    /// has to be there.
    pub dead_letter: Option<String>,

    /// How long the queue lets a delivery be unsettled, if that is not the server's own limit (30 minutes, unless
    /// configured). With `declare` the queue gets it, from RabbitMQ 3.12 on. A handler has to be done before that.
    #[schemars(extend("x-minimum" = "1m", "x-maximum" = "30d"))]
    pub consumer_timeout: Option<Period>,

    /// What a message takes, about. The broker limits what it sends ahead by messages, so a queue's messages are asked for
    /// as many as fit into `budget.bytes_max` by this size. Where they turn out larger and more bytes came than may be,
    /// the consumer connects anew once and asks for fewer.
    #[schemars(extend("x-minimum" = "1B", "x-maximum" = "512MiB"))]
    pub message_size: Size,

    /// What a message's ordering key is, where it has no header `keylane-key`. Left out: the routing key for ordered
    /// subscriptions, for others there is none.
    pub key: Option<KeyFrom>,
}

impl Default for RabbitMqSubscription {
    fn default() -> Self {
        Self {
            kind: QueueKind::default(),
            queues: None,
            declare: false,
            delivery_limit: DeliveryLimit::default(),
            dead_letter: None,
            consumer_timeout: None,
            message_size: Size::kib(4),
            key: None,
        }
    }
}

/// What a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueueKind {
    /// Replicated, and it counts deliveries.
    #[default]
    Quorum,
    /// On one node.
    Classic,
}

impl QueueKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Quorum => "quorum",
            Self::Classic => "classic",
        }
    }
}

/// How often a broker delivers in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryLimit {
    /// As the broker has it.
    #[default]
    Broker,
    /// Without end: the queue has no limit, by argument or policy.
    None,
}

/// What a message's ordering key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyFrom {
    /// The header `keylane-key` alone.
    Header,
    /// The routing key.
    RoutingKey,
}

impl RabbitMqSubscription {
    pub(crate) fn key(&self) -> KeyFrom {
        self.key.unwrap_or(if self.queues.is_some() { KeyFrom::RoutingKey } else { KeyFrom::Header })
    }
}

impl Component for RabbitMqSubscription {
    fn check(&self, found: &mut Findings) {
        if let Some(Err(error)) = self.dead_letter.as_deref().map(Address::parse) {
            found.wrong("dead_letter", error.to_string());
        }
        // Rule T5.
        let limited = self.kind == QueueKind::Quorum && self.delivery_limit == DeliveryLimit::Broker;
        if limited && self.dead_letter.is_none() {
            found.wrong(
                "dead_letter",
                "is not there: a quorum queue drops a message after 20 failed deliveries, from RabbitMQ 4.0 on; name the queue's dead-letter target, or write delivery_limit = \"none\" for a queue that has no limit",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use keylane::config::Section;

    use super::*;

    fn read(text: &str) -> Result<RabbitMqSubscription, String> {
        Section::parse(text).unwrap().read().map_err(|error| error.to_string())
    }

    #[test]
    fn t5_a_delivery_limit_without_a_dead_letter_target_is_refused() {
        let refusal = read("").unwrap_err();
        assert!(
            refusal.contains("dead_letter") && refusal.contains("delivery_limit = \"none\""),
            "{refusal}"
        );
        for text in ["dead_letter = 'dead'", "delivery_limit = 'none'", "kind = 'classic'"] {
            read(text).unwrap();
        }
    }

    #[test]
    fn ordered_subscriptions_go_by_routing_key() {
        let of = |text| read(text).unwrap().key();
        assert_eq!(of("kind = 'classic'"), KeyFrom::Header);
        assert_eq!(of("kind = 'classic'\nqueues = 3"), KeyFrom::RoutingKey);
        assert_eq!(of("kind = 'classic'\nkey = 'routing_key'"), KeyFrom::RoutingKey);
        assert!(read("kind = 'classic'\nqueues = 0").is_err());
        assert!(read("kind = 'classic'\ndead_letter = '/exchanges/'").unwrap_err().contains("dead_letter"));
    }
}
