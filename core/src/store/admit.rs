//! Admission: what the store knows of a batch before anything of it runs.

use bytes::Bytes;

use super::{AttemptRow, LeaseAnswer, Scope, SessionId};
use crate::event::PayloadHash;
use crate::text::Text;

/// Events to look up, of one subscription.
#[derive(Debug, Clone)]
pub struct AdmitBatch {
    /// Who asks.
    pub session: SessionId,
    /// The subscription and source.
    pub scope: Scope,
    /// Keys whose leases are to be taken first (rule A1), sorted, each once (rule C7). None with claims, and
    /// none for keys that this session holds already.
    pub leases: Vec<Bytes>,
    /// In delivery order.
    pub events: Vec<AdmitEvent>,
}

/// One event to look up.
#[derive(Debug, Clone)]
pub struct AdmitEvent {
    /// Its id.
    pub id: Text,
    /// Its payload's digest, which tells a duplicate from a conflict (rule L4); `None`: the subscription keeps
    /// no ledger, only tries and parked rows are looked up.
    pub payload: Option<PayloadHash>,
    /// Index into the batch's leases, when its key is asked for here.
    pub lease: Option<usize>,
    /// Its exclusion is a lease: earlier tries are looked up by its id. With a claim they came with the grant.
    pub leased: bool,
}

/// The answer to an admission.
#[derive(Debug, Clone, Default)]
pub struct Admitted {
    /// One per asked lease, in order.
    pub leases: Vec<LeaseAnswer>,
    /// One per event, in order; read after the leases were won (rule A1). Of an event whose lease was not
    /// granted only what is over counts: it is admitted anew when it has the lease (rule A2).
    pub events: Vec<Admission>,
}

/// What is known of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Nothing: handle it.
    Fresh,
    /// It was tried before under another lease and is not finished: handle it.
    Tried(Box<AttemptRow>),
    /// In the ledger with the same payload: settle it.
    Finished,
    /// In the ledger or parked with another payload: a conflict, dead-lettered as such.
    Conflict,
    /// In the parking table: settle it, its row lives on.
    Parked,
}
