//! What a broker can honestly do.

use std::time::Duration;

/// What a broker can do for a subscription. What is configured but not here is refused at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The adapter's kind, such as `kafka`, for messages.
    pub kind: &'static str,
    /// The source has partitions that are assigned to consumers, each read in order: claims serve (rule S8).
    pub partitions: bool,
    /// The broker keeps the order of one key until something fails.
    pub ordered: bool,
    /// What a settlement is.
    pub settles: Settles,
    /// It counts deliveries of one event.
    pub attempts: bool,
    /// A delivery can be put off durably, up to this long.
    pub delay: Option<Duration>,
    /// A delivery's deadline can be extended, up to this long in all.
    pub extension_max: Option<Duration>,
    /// It has dead letters of its own.
    pub dead_letters: bool,
    /// Reading can start at a position or a time.
    pub seek: bool,
    /// The longest after which it may hand over an event again that was acked or is in flight; the
    /// ledger must remember longer. `None`: a position is never read twice but by an operator's act.
    pub redelivery_horizon: Option<Duration>,
}

/// What the broker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settles {
    /// Every delivery on its own: [`Consumer::settle`](super::Consumer::settle).
    Each,
    /// The base of a partition: [`Consumer::commit`](super::Consumer::commit).
    Position,
}
