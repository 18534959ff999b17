//! The broker's edges: [`Broker`] connects, [`Consumer`] reads one source, [`Publisher`] writes.
//!
//! These traits are all that an adapter implements. Their contracts are the bullets below; each has a
//! check of the same name in `keylane::conformance` (feature `conformance`).

mod adapter;
mod capabilities;
mod change;
mod consumer;
mod publisher;

use std::sync::Arc;

use async_trait::async_trait;

pub use adapter::BrokerAdapter;
pub use capabilities::{Capabilities, Settles};
pub use change::{Change, Handback, Partition};
pub use consumer::{Base, Bounds, Consumer, Pulled, Reset, Start};
pub use publisher::{Outgoing, Publisher, Receipt};

use crate::config::Section;
use crate::env::Timestamp;
use crate::error::Error;

/// A connected broker: the factory of consumers and publishers.
///
/// - `connect_is_lazy_or_bounded`: making a consumer or publisher succeeds or fails within a limit,
///   also while the broker is away.
/// - `unknown_source_is_refused`: a source that does not exist is an error that names it, never an
///   empty stream.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// What this broker can do for a subscription with this table of the adapter's own keys.
    ///
    /// # Errors
    /// The table can't be read.
    fn capabilities(&self, of: &Section) -> Result<Capabilities, Error>;

    /// Starts reading one source as a member of one group.
    async fn consumer(&self, spec: ConsumerSpec) -> Result<Arc<dyn Consumer>, Error>;

    /// Starts writing.
    async fn publisher(&self) -> Result<Arc<dyn Publisher>, Error>;

    /// Ends every connection; idempotent.
    async fn close(&self);
}

/// What a consumer is made for.
#[derive(Debug, Clone)]
pub struct ConsumerSpec {
    /// The subscription's name.
    pub subscription: Arc<str>,
    /// Topic, queue, subscription or stream.
    pub source: Arc<str>,
    /// The consumers that share the source's events.
    pub group: Arc<str>,
    /// Where a group that has no position yet begins.
    pub reset: Reset,
    /// Deliveries that may be unsettled at a time, where each is settled on its own: what is in flight, and what
    /// waits behind a failed event or for a lease. A broker's own limit of unacknowledged messages has to be this.
    pub unsettled_max: usize,
    /// Bytes the client may hold that nobody pulled yet.
    pub prefetch_bytes_max: usize,
    /// The adapter's own keys of this subscription, `[subscription.NAME.KIND]`.
    pub settings: Section,
}

/// A point in a log by its time; brokers round it to the first record at or after it.
pub type Since = Timestamp;
