//! What kind of broker a seed runs on.

use std::fmt;

/// A kind of broker, with the order and the redelivery that such brokers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// A partitioned log: rebalances, epochs, positions (Kafka, the embedded log).
    Log,
    /// A shared queue: any event to any worker, again at random and on disconnect (RabbitMQ, SQS standard).
    Queue,
    /// Visibility timeouts with group locks: what is not settled in time comes again, and nothing of a group is
    /// handed out while one of it is in flight (SQS FIFO).
    Visibility,
    /// Ordered keys with suffix redelivery: when one event of a key comes again, all later ones of it do, in order,
    /// settled or not (Pub/Sub with ordering keys, Pulsar Key_Shared).
    Ordered,
}

impl Profile {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Log, Self::Queue, Self::Visibility, Self::Ordered];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Queue => "queue",
            Self::Visibility => "visibility",
            Self::Ordered => "ordered",
        }
    }

    /// The profile of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// Keys have leases; else partitions have claims.
    #[must_use]
    pub fn is_leased(self) -> bool {
        self != Self::Log
    }

    /// The broker keeps the order of a key until something fails.
    #[must_use]
    pub fn is_ordered(self) -> bool {
        self != Self::Queue
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
