//! Group commit: all that queued up while the previous one ran, in one transaction.

use std::fmt;

use bytes::Bytes;

use super::{
    AttemptRow, ClaimRef, Death, Effect, Hold, LeaseCommit, LeaseRef, Parked, ParkedId, Position, Reason,
    Scope, SessionId, Witness,
};
use crate::event::PayloadHash;
use crate::handler::Failure;
use crate::text::Text;
use crate::watermark::Watermark;

/// One transaction's worth of results.
#[derive(Debug)]
pub struct CommitGroup {
    /// Who commits; fenced by its row (rule S1).
    pub session: SessionId,
    /// The partitions and keys that this group touches, sorted (rule C7). One may stand here without
    /// events: then only the claim's position is written, or the lease given back.
    pub holds: Vec<HoldCommit>,
    /// What commits together; in the order per key.
    pub units: Vec<Unit>,
}

/// An exclusion's part of a group.
#[derive(Debug, Clone)]
pub enum HoldCommit {
    /// A partition's.
    Claim(Box<ClaimCommit>),
    /// A key's.
    Lease(LeaseCommit),
}

impl HoldCommit {
    /// What it belongs to.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        match self {
            Self::Claim(claim) => &claim.claim.scope,
            Self::Lease(lease) => &lease.lease.lease.scope,
        }
    }

    /// The partition's part, where it is one.
    #[must_use]
    pub fn claim(&self) -> Option<&ClaimCommit> {
        match self {
            Self::Claim(claim) => Some(claim),
            Self::Lease(_) => None,
        }
    }

    /// The key's part, where it is one.
    #[must_use]
    pub fn lease(&self) -> Option<&LeaseCommit> {
        match self {
            Self::Claim(_) => None,
            Self::Lease(lease) => Some(lease),
        }
    }

    /// What is checked to be still held (rule C1).
    #[must_use]
    pub fn hold(&self) -> Hold {
        match self {
            Self::Claim(claim) => Hold::Claim(claim.claim.clone()),
            Self::Lease(lease) => Hold::Lease(lease.lease.clone()),
        }
    }
}

/// A partition's part of a group.
#[derive(Debug, Clone)]
pub struct ClaimCommit {
    /// Checked to be still held, row locked until the end (rules C1, S2).
    pub claim: ClaimRef,
    /// What is finished without needing a row here, this group's events not yet among it.
    pub watermark: Watermark,
    /// The newest record known below the base.
    pub witness: Option<Witness>,
    /// The log's identity.
    pub identity: Option<Text>,
    /// The source's number of partitions.
    pub partitions: u32,
}

/// Events that commit or fail together: one, or those of a batch handler's run.
#[derive(Debug)]
pub struct Unit {
    /// The events; never empty.
    pub events: Vec<CommitEvent>,
    /// Run inside the transaction, in order, if all events are newly finished (rule C3).
    pub effects: Vec<Effect>,
}

/// One event's part of a group.
#[derive(Debug)]
pub struct CommitEvent {
    /// Index into the group's holds.
    pub hold: usize,
    /// Its offset; with a claim, marked finished by `Finish` and `Park`.
    pub offset: u64,
    /// Its id.
    pub id: Text,
    /// Its lane key: a failed effect takes the key's later events out (rule C3).
    pub key: Bytes,
    /// Its payload's digest; `None`: no ledger row. With a claim the position is the ledger then.
    pub ledger: Option<PayloadHash>,
    /// The parked row this run took; deleting it is the arbiter (rule P2), and no offset is marked.
    pub unpark: Option<ParkedId>,
    /// What to write.
    pub verdict: Verdict,
}

/// What a commit writes of an event.
#[derive(Debug)]
pub enum Verdict {
    /// Finished: ledger row or position, attempts cleared, effects.
    Finish,
    /// Into the parking table, its offset finished; no ledger row (rule P1).
    Park(Box<Parked>),
    /// A try failed: attempts are kept, the offset stays open.
    Tried(AttemptRow),
    /// About to run, marked so that a death counts (rule T1); the offset stays open.
    Started(AttemptRow),
}

/// The answer to a commit.
#[derive(Debug, Default)]
pub struct Committed {
    /// One fate per event, in the order of units and their events.
    pub fates: Vec<Fate>,
    /// By their index in the group: the claims whose positions were written, which are those that were still
    /// held, and the leases that were given back.
    pub written: Vec<usize>,
    /// Claims of this session that another wants (rule S5).
    pub wanted: Vec<ClaimRef>,
    /// Leases of this session that another waits for (rule S9), those of this group at least.
    pub contended: Vec<LeaseRef>,
}

/// What became of one event in a commit.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// Durable.
    Committed,
    /// Someone finished or parked it before: same id, same payload. Nothing was written.
    Duplicate,
    /// Someone finished or parked the id before with another payload (rule L4). Nothing was written.
    Conflict,
    /// Its claim or lease is gone; nothing was written and nothing may be (rule C1).
    Excluded,
    /// Its effect failed; nothing of it was written (rule C3).
    Failed(Failure),
    /// An earlier event of its key, or another event of its unit, did not commit; nothing of it was
    /// written. It must be run again.
    Behind,
}

impl Fate {
    /// True when the event's result is durable by this commit.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        matches!(self, Self::Committed)
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Committed => f.write_str("committed"),
            Self::Duplicate => f.write_str("duplicate"),
            Self::Conflict => f.write_str("conflict"),
            Self::Excluded => f.write_str("excluded"),
            Self::Failed(failure) => write!(f, "failed: {failure}"),
            Self::Behind => f.write_str("behind"),
        }
    }
}

impl CommitGroup {
    /// The events in the order of the fates.
    pub fn events(&self) -> impl Iterator<Item = &CommitEvent> {
        self.units.iter().flat_map(|unit| unit.events.iter())
    }

    /// The positions to write when these fates hold: what was finished before, and this group's
    /// committed and duplicate events (`position_holds_what_survived`). A duplicate counts, because
    /// its event is finished; an excluded claim has no position to write. Each with its index in the group.
    #[must_use]
    pub fn positions(
        &self,
        fates: &[Fate],
        held: impl Fn(usize) -> bool,
    ) -> Vec<(usize, ClaimRef, Position)> {
        let mark = |at: usize| held(at).then(|| self.holds[at].claim().map(|claim| claim.watermark.clone()));
        let mut marks: Vec<Option<Watermark>> = (0..self.holds.len()).map(|at| mark(at).flatten()).collect();
        for (event, fate) in self.events().zip(fates) {
            if event.marks_position(fate)
                && let Some(mark) = &mut marks[event.hold]
            {
                mark.finish(event.offset);
            }
        }
        let written = self.holds.iter().zip(marks).enumerate();
        let written = written.filter_map(|(at, (hold, mark))| Some((at, hold.claim()?, mark?)));
        written.map(|(at, claim, mark)| (at, claim.claim.clone(), claim.position(&mark))).collect()
    }

    /// The leases that end when these fates hold, by their index: those to be given back, still held, of
    /// which every event here is over (rule S7).
    #[must_use]
    pub fn given_back(&self, fates: &[Fate], held: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut over: Vec<bool> = self
            .holds
            .iter()
            .enumerate()
            .map(|(at, hold)| hold.lease().is_some_and(|lease| lease.give_back) && held(at))
            .collect();
        for (event, fate) in self.events().zip(fates) {
            over[event.hold] &= event.is_over(fate);
        }
        (0..over.len()).filter(|at| over[*at]).collect()
    }
}

impl CommitEvent {
    /// True when this fate finishes the event's offset. A duplicate's does, because its event is
    /// finished; one that was released from the parking table has none to finish any more.
    #[must_use]
    pub fn marks_position(&self, fate: &Fate) -> bool {
        self.is_over(fate) && self.unpark.is_none()
    }

    /// True when nothing of the event is left to do after this fate.
    #[must_use]
    pub fn is_over(&self, fate: &Fate) -> bool {
        !self.is_note() && matches!(fate, Fate::Committed | Fate::Duplicate)
    }

    /// A try or a mark: written beside the event, which stays open.
    #[must_use]
    pub fn is_note(&self) -> bool {
        matches!(self.verdict, Verdict::Tried(_) | Verdict::Started(_))
    }

    /// On its way to the dead letters because its id is taken (rule L4).
    #[must_use]
    pub fn is_conflict_letter(&self) -> bool {
        matches!(&self.verdict, Verdict::Park(letter) if letter.reason == Reason::Dead(Death::Conflict))
    }

    /// The payload under which the event takes its id: by finishing or by being parked. A try takes nothing, and a
    /// conflict leaves its id to the event that has it.
    #[must_use]
    pub fn takes_id(&self) -> Option<PayloadHash> {
        self.ledger.filter(|_| !self.is_note() && self.unpark.is_none() && !self.is_conflict_letter())
    }
}

impl ClaimCommit {
    fn position(&self, watermark: &Watermark) -> Position {
        let (base, sparse) = watermark.encode();
        Position {
            base,
            sparse,
            identity: self.identity.clone(),
            witness: self.witness.filter(|witness| witness.offset < base),
            partitions: self.partitions,
        }
    }
}
