//! Writing to a broker.

use async_trait::async_trait;

use super::Partition;
use crate::error::Error;
use crate::event::Record;

/// Writes records and confirms each.
///
/// - `publish_confirms_each`: a result per record, in order; `Ok` only when the broker has it durably.
/// - `publish_keeps_key_order`: records of one key in one call, and in one call after another, are read in that order.
/// - `publish_to_missing_target_fails`: an unroutable record is an error that names the target.
/// - `publish_too_large_fails_alone`: one record over the broker's limit fails by itself.
#[async_trait]
pub trait Publisher: Send + Sync + 'static {
    /// Publishes a batch; a result per record, in order.
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt, Error>>;

    /// Flushes and ends; idempotent.
    async fn close(&self);
}

/// A record with where it goes.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Topic, queue or stream.
    pub target: String,
    /// What to write; its key chooses the partition.
    pub record: Record,
}

/// Where a published record lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The partition, where the broker has them.
    pub partition: Option<Partition>,
    /// The offset, where the broker has one.
    pub offset: Option<u64>,
}
