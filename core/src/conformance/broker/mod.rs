//! The contracts of [`Broker`], [`Consumer`](crate::broker::Consumer) and
//! [`Publisher`](crate::broker::Publisher) as checks, one per bullet.
//!
//! [`broker_conformance!`](crate::broker_conformance) makes a `#[tokio::test]` of every check. Checks look
//! at the capabilities: what a broker settles by position is not asked to settle by entry, and says so.
//!
//! What is known to go wrong with real brokers, and where it is noticed:
//!
//! | what | noticed by |
//! |---|---|
//! | a consumer polled under a timer loses deliveries | `pull_is_cancel_safe` |
//! | a shutdown hangs, above all with the broker down | `close_is_bounded` |
//! | a dead channel, a deleted queue, an ended stream is silence | `pull_resumes_by_itself` |
//! | a redelivery runs beside the handler that a cut left running | the runtime's stories; that it is told of the cut, and the stale settle: `replaced_connection_voids_what_was_delivered` |
//! | a stale settle settles another delivery | `stale_settle_is_harmless`, `replaced_connection_voids_what_was_delivered`, `settle_by_entry` |
//! | a dead-letter copy to a missing target acks the original | `publish_to_missing_target_fails`; the acking: the runtime's stories |
//! | a short delay waits behind a long one | no bullet yet: it joins with the first broker that has `delay` |
//! | after a failure of a key's first event a later one runs | the runtime's stories |
//! | a redelivered suffix is handled twice | the runtime's stories, and the store's `commit_once` |
//! | the server ignores credits | `pull_never_exceeds_credits`, `unsettled_never_exceeds_its_bound` |
//! | unstarted deliveries stay with a worker that shut down | `close_is_bounded` |
//! | a partial failure of a batch settle is overlooked | `settle_by_entry` |
//! | out-of-order completion and a crash pass something unfinished | the store's `position_holds_what_survived`, the runtime's stories |
//! | a saturated consumer falls out of its group | `pause_stops_only_its_partition` |
//! | settling one event of a producer's batch settles its siblings | `settle_by_entry` |
//! | a crash between commit and ack doubles or loses | the runtime's stories |

mod assignment;
mod connect;
mod delivery;
mod each;
mod member;
mod publish;
mod reading;
mod settle;
mod stage;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use assignment::{close_is_bounded, pause_stops_only_its_partition, revoking_waits_for_handback};
pub use connect::{connect_is_lazy_or_bounded, pull_resumes_by_itself, unknown_source_is_refused};
pub use delivery::{
    headers_and_key_pass_through, pull_is_cancel_safe, pull_keeps_partition_order, pull_never_exceeds_credits,
};
pub use each::{replaced_connection_voids_what_was_delivered, unsettled_never_exceeds_its_bound};
pub use publish::{
    publish_confirms_each, publish_keeps_key_order, publish_to_missing_target_fails,
    publish_too_large_fails_alone,
};
pub use reading::{
    bounds_describe_the_log, broken_partition_stops_alone, nothing_before_start, origin_follows_the_reset,
    stale_start_is_harmless, start_reads_from_position,
};
pub use settle::{
    settle_by_entry, settled_is_not_redelivered, stale_settle_is_harmless, unsettled_is_redelivered,
};

use super::Cannot;
use crate::broker::{Broker, ConsumerSpec, Partition, Reset};
use crate::env::Env;

/// A broker under test. Every check makes sources of its own, so that one server serves all.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// The time that the checks spend: real for a real broker, virtual for a simulated one.
    fn env(&self) -> Env;

    /// Connects. Each call is the connection of one more worker, as another process would have it.
    async fn broker(&self) -> Arc<dyn Broker>;

    /// Creates a new, empty source, ready to be read and written, and returns its name.
    async fn source(&self, partitions: u32) -> String;

    /// What a consumer is made for; with settings of the adapter's own where it needs some.
    fn spec(&self, source: &str, group: &str, reset: Reset) -> ConsumerSpec {
        ConsumerSpec {
            subscription: group.into(),
            source: source.into(),
            group: group.into(),
            reset,
            unsettled_max: 1024,
            prefetch_bytes_max: 1 << 20,
            settings: Default::default(),
        }
    }

    /// How long a check waits for what must come.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// How long a check listens for what must not come.
    fn quiet(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// How long a member that pulls nothing could be thought dead: a pause is held for longer.
    fn idle_limit(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// A payload's size that the broker refuses, where it has such a limit.
    fn too_large(&self) -> Option<usize> {
        None
    }

    /// How far the broker believes that a group is, read by the broker's own means and not through the
    /// group's members. Outer `None`: this can't be read; inner: nothing was committed.
    async fn committed(&self, _source: &str, _group: &str, _partition: Partition) -> Option<Option<u64>> {
        None
    }

    /// Faults that can be brought about.
    fn faults(&self) -> Option<&dyn Faults> {
        None
    }

    /// What this broker can't show, by the name of the check, and why.
    fn cannot(&self) -> &[Cannot] {
        &[]
    }
}

/// What can be done to a broker.
#[async_trait]
pub trait Faults: Send + Sync {
    /// Whether the broker can be cut off: one that lies in a file of the process can't.
    fn can_cut(&self) -> bool {
        true
    }

    /// Cuts every worker of this harness off from the broker, now and until `mend`.
    async fn cut(&self);

    /// Ends the cut.
    async fn mend(&self);

    /// Deletes a source under its readers; false when this can't be done.
    async fn delete(&self, source: &str) -> bool;

    /// Lets go of a partition's records below an offset, as retention does; false when this can't be done.
    async fn expire(&self, _source: &str, _partition: Partition, _below: u64) -> bool {
        false
    }
}

/// Makes a test of every check of [`conformance::broker`](crate::conformance::broker).
///
/// The argument is an expression for a [`Harness`]; it is evaluated in each test and may await.
#[macro_export]
macro_rules! broker_conformance {
    ($harness:expr) => {
        $crate::broker_conformance! { @each $harness;
            connect_is_lazy_or_bounded
            unknown_source_is_refused
            pull_never_exceeds_credits
            pull_is_cancel_safe
            pull_keeps_partition_order
            pull_resumes_by_itself
            nothing_before_start
            start_reads_from_position
            stale_start_is_harmless
            broken_partition_stops_alone
            bounds_describe_the_log
            origin_follows_the_reset
            unsettled_is_redelivered
            settled_is_not_redelivered
            settle_by_entry
            stale_settle_is_harmless
            replaced_connection_voids_what_was_delivered
            unsettled_never_exceeds_its_bound
            pause_stops_only_its_partition
            revoking_waits_for_handback
            close_is_bounded
            headers_and_key_pass_through
            publish_confirms_each
            publish_keeps_key_order
            publish_to_missing_target_fails
            publish_too_large_fails_alone
        }
    };
    (@each $harness:expr; $($check:ident)*) => {$(
        #[tokio::test]
        async fn $check() {
            let harness = $harness;
            let cannot = $crate::conformance::broker::Harness::cannot(&harness);
            if $crate::conformance::is_shown(stringify!($check), cannot) {
                $crate::conformance::broker::$check(&harness).await;
            }
        }
    )*};
}
