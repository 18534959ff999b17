//! Leases: a key's record that it belongs to a session, where no partition says so.

use bytes::Bytes;

use super::{ClaimRef, Scope};

/// What a lease is of: one ordering key of one subscription over one source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseKey {
    /// The subscription and source.
    pub scope: Scope,
    /// The ordering key.
    pub key: Bytes,
}

/// A lease as its owner names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseRef {
    /// Of what.
    pub lease: LeaseKey,
    /// As of which grant; greater than that of every grant before (rule A4).
    pub token: u64,
}

/// The store's answer for one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// The key is yours.
    Granted {
        /// The grant's token.
        token: u64,
        /// Rule T1: so many of the key's next events may have been begun before, by someone whose end was not clean,
        /// and are marked before they run. 0: whoever had the key ended in order. `u32::MAX`: who had it last did
        /// not give it back, be it this session itself.
        marks: u32,
    },
    /// A live session has it, or it is kept for one that waits longer. This session waits for it from now
    /// on; [`Store::freed`](super::Store::freed) tells when to ask again.
    Taken,
}

/// A lease's part of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseCommit {
    /// Checked to be still held, row locked until the end (rules C1, S2).
    pub lease: LeaseRef,
    /// It ends with this transaction, if every event of it in the group is over then; also without events.
    pub give_back: bool,
    /// Where it ends: so many of the marks that it was granted with are still to be made (rule T1). The next owner is
    /// told of them, of no more than came with the grant: `u32::MAX` leaves them as they were.
    pub marks: u32,
}

/// What makes a session the only one to run a key: the claim of its partition, or its lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hold {
    /// Of a whole partition.
    Claim(ClaimRef),
    /// Of one key.
    Lease(LeaseRef),
}

impl Hold {
    /// What it belongs to.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        match self {
            Self::Claim(claim) => &claim.scope,
            Self::Lease(lease) => &lease.lease.scope,
        }
    }

    /// The claim, where it is one.
    #[must_use]
    pub fn claim(&self) -> Option<&ClaimRef> {
        match self {
            Self::Claim(claim) => Some(claim),
            Self::Lease(_) => None,
        }
    }

    /// The lease, where it is one.
    #[must_use]
    pub fn lease(&self) -> Option<&LeaseRef> {
        match self {
            Self::Claim(_) => None,
            Self::Lease(lease) => Some(lease),
        }
    }
}
