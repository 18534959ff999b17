//! Claims: a partition's record that it belongs to a session.

use std::sync::Arc;
use std::time::Duration;

use super::{Parked, SessionId};
use crate::broker::Partition;
use crate::env::Timestamp;
use crate::text::Text;

/// What a claim, a position and a ledger row belong to: one subscription over one broker's source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// The subscription's group: what shares positions and ledger.
    pub subscription: Arc<str>,
    /// The broker's name in the configuration.
    pub broker: Arc<str>,
    /// Topic or stream.
    pub source: Arc<str>,
}

/// A claim as its owner names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimRef {
    /// Of what.
    pub scope: Scope,
    /// Which partition.
    pub partition: Partition,
    /// As of which grant.
    pub epoch: u64,
}

/// Asks for a partition.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// Who asks.
    pub session: SessionId,
    /// Of what.
    pub scope: Scope,
    /// Which partition.
    pub partition: Partition,
    /// How long a live owner may keep a claim that others want: at least session lifetime plus grace (S5).
    pub handover_limit: Duration,
}

/// The store's answer.
#[derive(Debug, Clone)]
pub enum ClaimAnswer {
    /// The partition is yours.
    Granted(Box<Claim>),
    /// A live session has it; it is marked as wanted now. Ask again later.
    Wanted {
        /// Who has it, for people.
        owner: String,
    },
}

/// A granted claim with all that is known of its partition.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The claim; its epoch is greater than all before.
    pub claim: ClaimRef,
    /// How far the partition is finished; `None` when nobody ever read it.
    pub position: Option<Position>,
    /// Where an operator said to read from; only while there is no position.
    pub read_from: Option<ReadFrom>,
    /// How often the partition was repositioned: an offset names a record within one generation only.
    pub generation: u64,
    /// The owner before did not release it cleanly, be it this session itself: the first events may have
    /// been begun (rule T1).
    pub unclean: bool,
    /// Events that were tried and are not finished.
    pub attempts: Vec<AttemptRow>,
    /// Parked events that an operator released and nobody ran yet.
    pub released: Vec<Parked>,
}

/// An operator's order to read partitions from elsewhere (rule L2).
#[derive(Debug, Clone)]
pub struct Reposition {
    /// Of what.
    pub scope: Scope,
    /// Which partition; `None`: all that were ever claimed.
    pub partition: Option<Partition>,
    /// From where.
    pub to: ReadFrom,
}

/// Where to read a partition from, whatever was read of it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// From the first record that is there when it is claimed.
    Earliest,
    /// From what is written after it is claimed.
    Latest,
    /// From this offset, which the log must have or be about to write.
    Offset(u64),
}

/// Where a subscription stands in a partition (rule L2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Position {
    /// The next offset not known to be finished.
    pub base: u64,
    /// What above it is finished, as [`Watermark`](crate::watermark::Watermark) encodes it.
    pub sparse: Vec<u8>,
    /// What tells this log from another of the same name.
    pub identity: Option<Text>,
    /// A record below the base by which the log is known again.
    pub witness: Option<Witness>,
    /// How many partitions the source had: a change is refused while keys are held (rule S8).
    pub partitions: u32,
}

/// One record of the log below the base (rule L2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Witness {
    /// Where it stands.
    pub offset: u64,
    /// Its broker time.
    pub time: Option<Timestamp>,
    /// A hash of its key and payload.
    pub hash: u64,
}

/// How often an unfinished event was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// The partition's generation in which it was read.
    pub generation: u64,
    /// Its offset in the claimed partition.
    pub offset: u64,
    /// Its id.
    pub id: Text,
    /// Finished tries that failed.
    pub attempts: u32,
    /// Deaths of a worker while it ran (rule T1).
    pub crashes: u32,
    /// Marked as begun by a session, and not ended by it (rule T1).
    pub started_by: Option<SessionId>,
    /// When it was first tried.
    pub first_at: Timestamp,
    /// What the last try said.
    pub failure: String,
}
