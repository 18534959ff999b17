//! Reading one source.

use std::time::Duration;

use async_trait::async_trait;

use super::{Capabilities, Change, Partition};
use crate::delivery::{Delivery, Settled, Ticket};
use crate::env::Timestamp;
use crate::error::Error;
use crate::text::Text;

/// A member of one group over one source.
///
/// All methods take `&self` and may run at the same time; only one `pull` runs at a time.
///
/// - `pull_never_exceeds_credits`: at most `credits` deliveries a call, also when the server ignores limits.
/// - `pull_is_cancel_safe`: dropping a `pull` loses nothing; the next one delivers it.
/// - `pull_keeps_partition_order`: deliveries of one partition come in growing offset.
/// - `pull_resumes_by_itself`: after a transient error the next `pull` mends the connection; an ended
///   stream, a dead channel or a deleted source is an error, never silence.
/// - `nothing_before_start`: with partitions, nothing is delivered of one before `start`, and every
///   delivery bears the epoch that `start` gave.
/// - `start_reads_from_position`: reading begins exactly at the given offset, whatever the broker has committed.
/// - `stale_start_is_harmless`: a `start` under a lower epoch than the one being read changes nothing.
/// - `broken_partition_stops_alone`: what can't be read of one partition, because the log has it no more or it is
///   damaged, is [`Change::Broken`] of that one, once, after all before it; the others go on, and a new start
///   reads it again.
/// - `bounds_describe_the_log`: the first offset still there, the next one to be written, the number of
///   partitions, and an identity that tells one log from another, where the broker can say.
/// - `origin_follows_the_reset`: the first record still there, the end, or the first record at or after a time.
/// - `unsettled_is_redelivered`: what was not settled or committed comes again, to this or another member.
/// - `settled_is_not_redelivered`: what was acked or lies below a committed base does not come to a
///   member that starts from the broker's own position.
/// - `settle_by_entry`: settling one delivery never settles another; a partial failure is repeated for
///   the failed entries alone.
/// - `stale_settle_is_harmless`: a ticket or base of an older epoch changes nothing.
/// - `replaced_connection_voids_what_was_delivered`: without partitions, [`Change::Void`] comes before the first
///   delivery of a new connection; what was delivered before comes again under the new epoch, and settling its
///   tickets names them. Offsets go on growing.
/// - `unsettled_never_exceeds_its_bound`: where each delivery is settled on its own, at most `unsettled_max` of them
///   are out at a time; each that is settled or given back makes room, also behind one that is not.
/// - `pause_stops_only_its_partition`: a paused partition delivers nothing, the others go on, and the
///   member stays in its group however long it lasts.
/// - `revoking_waits_for_handback`: a partition moves to another member only after the handback, or its limit.
/// - `close_is_bounded`: `close` ends within its limit, also with the broker away, and gives unstarted
///   deliveries to the other members within seconds.
/// - `headers_and_key_pass_through`: bytes, order and repetition of headers as they were published.
#[async_trait]
pub trait Consumer: Send + Sync + 'static {
    /// What this consumer can do.
    fn capabilities(&self) -> Capabilities;

    /// Waits for at least one delivery or an assignment change; at most `credits` deliveries.
    ///
    /// # Errors
    /// Transient: pull again after a while. Permanent: the subscription stops with the message.
    async fn pull(&self, credits: usize) -> Result<Pulled, Error>;

    /// Begins to deliver assigned partitions, each from its offset and under its epoch.
    async fn start(&self, starts: Vec<Start>) -> Result<(), Error>;

    /// What the log of a partition holds now (rule L2).
    async fn bounds(&self, partition: Partition) -> Result<Bounds, Error>;

    /// The offset at which a new group begins, by the consumer's [`Reset`].
    async fn origin(&self, partition: Partition) -> Result<u64, Error>;

    /// Tells the broker what became of these deliveries. The answer holds the tickets' numbers that the
    /// broker no longer knows (connection replaced, deadline passed): their events will come again.
    async fn settle(&self, batch: Vec<Settled>) -> Result<Vec<u64>, Error>;

    /// Tells the broker how far each partition is finished.
    async fn commit(&self, bases: Vec<Base>) -> Result<(), Error>;

    /// Puts off the deadlines of these deliveries.
    async fn extend(&self, tickets: &[Ticket], by: Duration) -> Result<(), Error>;

    /// Stops delivering these partitions (`None`: all), staying connected and in the group.
    fn pause(&self, partitions: Option<&[Partition]>);

    /// Goes on where `pause` stopped.
    fn resume(&self, partitions: Option<&[Partition]>);

    /// Leaves the group. Unsettled deliveries go back.
    async fn close(&self, within: Duration);
}

/// What one `pull` brought.
#[derive(Debug)]
pub enum Pulled {
    /// Events.
    Deliveries(Vec<Delivery>),
    /// An assignment change, in its place between deliveries.
    Change(Change),
}

/// Where and under which epoch to begin with a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Which.
    pub partition: Partition,
    /// The first offset to deliver.
    pub offset: u64,
    /// The claim's epoch, to be borne by every delivery.
    pub epoch: u64,
}

/// How far a partition is finished: everything below `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// Which.
    pub partition: Partition,
    /// Under which epoch.
    pub epoch: u64,
    /// The next offset not known to be finished.
    pub offset: u64,
}

/// What the log of a partition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset still there.
    pub low: u64,
    /// The offset the next record will get.
    pub high: u64,
    /// What tells this log from another of the same name, where the broker can say.
    pub identity: Option<Text>,
    /// How many partitions the source has.
    pub partitions: u32,
}

/// Where a group that has no position yet begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reset {
    /// At the first record still there.
    #[default]
    Earliest,
    /// At what is written from now on.
    Latest,
    /// At the first record written at or after this time.
    Time(Timestamp),
}
