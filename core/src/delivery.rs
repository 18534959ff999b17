//! One hand-over of an event by a broker, and the right to settle it once.
//!
//! A delivery is consumed by its settlement, so that a second one does not compile:
//!
//! ```compile_fail
//! # use keylane::delivery::{Delivery, Settlement};
//! fn twice(delivery: Delivery) {
//!     let first = delivery.settle(Settlement::Ack);
//!     let second = delivery.settle(Settlement::Ack); // error: use of moved value
//! }
//! ```

use std::time::Duration;

use crate::event::Record;

/// Where a delivery came from. A broker without partitions has partition 0, counts its connections as epochs and its
/// deliveries, over all connections of a consumer, as offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The partition within the source.
    pub partition: u32,
    /// The claim's epoch under which it was read; it only grows.
    pub epoch: u64,
    /// The position within the partition.
    pub offset: u64,
}

/// One hand-over of an event by a broker.
#[derive(Debug)]
pub struct Delivery {
    /// The event's bytes.
    pub record: Record,
    /// Where it came from.
    pub place: Place,
    /// How often the broker has handed it over, counted from 1, where the broker counts.
    pub attempt: Option<u32>,
    /// The right to settle it.
    pub ticket: Ticket,
}

impl Delivery {
    /// Uses up the delivery: this is what the broker is to be told.
    #[must_use]
    pub fn settle(self, settlement: Settlement) -> Settled {
        self.ticket.settle(settlement)
    }
}

/// The right to settle one delivery once. The number is the adapter's; nobody else reads it.
#[derive(Debug)]
pub struct Ticket(u64);

impl Ticket {
    /// A ticket under the adapter's own number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The adapter's own number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.0
    }

    /// Uses up the ticket.
    #[must_use]
    pub const fn settle(self, settlement: Settlement) -> Settled {
        Settled { ticket: self, settlement }
    }
}

/// What the broker is told of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// Its result is durable; never hand it over again.
    Ack,
    /// Not started; hand it to anyone at once, and count no failure where that can be said.
    Release,
    /// Hand it over again after this long; only where [`Capabilities::delay`](crate::broker::Capabilities) says so.
    RetryLater(Duration),
    /// Never to be handled; the broker's own dead-letter rule applies.
    Reject,
}

/// A used-up delivery with what the broker is to be told.
#[derive(Debug)]
pub struct Settled {
    /// Which delivery.
    pub ticket: Ticket,
    /// What to say of it.
    pub settlement: Settlement,
}
