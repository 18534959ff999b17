//! Parked events: stored instead of handled. Today for one reason, `dead`.

use std::sync::Arc;

use super::Scope;
use crate::broker::Partition;
use crate::env::Timestamp;
use crate::event::{PayloadHash, Record};
use crate::text::Text;

/// A row of the parking table: the event as it came and all that is known of its failure.
#[derive(Debug, Clone, PartialEq)]
pub struct Parked {
    /// The subscription and source it belongs to.
    pub scope: Scope,
    /// Its partition; only who may run its key runs it (rule P3).
    pub partition: Partition,
    /// The partition's generation in which it was read.
    pub generation: u64,
    /// Its position in the partition.
    pub offset: u64,
    /// Its id.
    pub id: Text,
    /// Its lane key.
    pub key: bytes::Bytes,
    /// Its kind, for people.
    pub kind: Text,
    /// Its number within the key, where it has one.
    pub sequence: Option<u64>,
    /// The record as the broker handed it over.
    pub record: Record,
    /// The digest of its payload.
    pub payload: PayloadHash,
    /// Why it is here.
    pub reason: Reason,
    /// How often it was tried.
    pub attempts: u32,
    /// Deaths of a worker while it ran.
    pub crashes: u32,
    /// What the last try said, outermost first.
    pub failures: Vec<String>,
    /// When it was first tried.
    pub first_at: Timestamp,
    /// When it was parked.
    pub parked_at: Timestamp,
    /// Which worker parked it.
    pub worker: String,
}

/// Why an event is parked. Gaps, predecessors, due times and followers join with the parking guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// No one but an operator will release it.
    Dead(Death),
}

/// How an event died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Death {
    /// Its attempts were used up.
    Exhausted,
    /// Its handler said that trying again can't help.
    Rejected,
    /// Its payload or metadata can't be decoded.
    Undecodable,
    /// It is over a limit: payload, depth, headers, key or id.
    OverLimit,
    /// No handler takes its kind.
    UnknownKind,
    /// Its id was seen before with another payload (rule L4).
    Conflict,
    /// It was being handled at too many deaths of workers (rule T1).
    Crashes,
}

impl Death {
    /// The name under which it is stored and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Rejected => "rejected",
            Self::Undecodable => "undecodable",
            Self::OverLimit => "over_limit",
            Self::UnknownKind => "unknown_kind",
            Self::Conflict => "conflict",
            Self::Crashes => "crashes",
        }
    }

    /// The death of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Exhausted,
            Self::Rejected,
            Self::Undecodable,
            Self::OverLimit,
            Self::UnknownKind,
            Self::Conflict,
            Self::Crashes,
        ]
        .into_iter()
        .find(|death| death.name() == name)
    }
}

/// What names a parked event. A conflict shares its id with a finished or parked event, so the place belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParkedId {
    /// Of what.
    pub scope: Scope,
    /// Its partition.
    pub partition: Partition,
    /// The partition's generation: a log that was recreated has its offsets anew.
    pub generation: u64,
    /// Its position.
    pub offset: u64,
}

impl Parked {
    /// What names it.
    #[must_use]
    pub fn parked_id(&self) -> ParkedId {
        ParkedId {
            scope: self.scope.clone(),
            partition: self.partition,
            generation: self.generation,
            offset: self.offset,
        }
    }
}

/// Which dead letters to list.
#[derive(Debug, Clone)]
pub struct DeadQuery {
    /// Of which subscription's group.
    pub subscription: Arc<str>,
    /// After this one (a page's last), in the order of parking.
    pub after: Option<ParkedId>,
    /// At most so many, at most 1,000.
    pub limit: usize,
}

/// What a release request met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseAnswer {
    /// Its owner will run it.
    Requested,
    /// There is no such parked event.
    Missing,
}
