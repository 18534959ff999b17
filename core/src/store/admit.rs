//! Admission: what the store knows of a batch before anything of it runs.

use super::{ClaimRef, SessionId};
use crate::event::PayloadHash;
use crate::text::Text;

/// Events to look up, of one subscription.
#[derive(Debug, Clone)]
pub struct AdmitBatch {
    /// Who asks.
    pub session: SessionId,
    /// The claims of the batch's partitions; events name them by index.
    pub claims: Vec<ClaimRef>,
    /// In delivery order.
    pub events: Vec<AdmitEvent>,
}

/// One event to look up.
#[derive(Debug, Clone)]
pub struct AdmitEvent {
    /// Index into the batch's claims.
    pub claim: usize,
    /// Its id.
    pub id: Text,
    /// Its payload's digest, which tells a duplicate from a conflict (rule L4).
    pub payload: PayloadHash,
}

/// What is known of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Nothing: handle it.
    Fresh,
    /// In the ledger with the same payload: settle it.
    Finished,
    /// In the ledger or parked with another payload: a conflict, dead-lettered as such.
    Conflict,
    /// In the parking table: settle it, its row lives on.
    Parked,
}
