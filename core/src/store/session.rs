//! The worker's row: its heartbeat and the fence of all that it commits.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use super::{ClaimRef, LeaseRef, Parked};

/// A worker's identity, new at every start and after every loss; never used again (rule S1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub Uuid);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A session to register.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Its identity.
    pub id: SessionId,
    /// The worker's name for people: host, process, service.
    pub worker: String,
    /// How long a registration or renewal lasts, by the database's clock.
    pub lifetime: Duration,
}

/// What a renewal brought.
#[derive(Debug, Clone, Default)]
pub struct Renewed {
    /// Claims of this session that another wants (rule S5).
    pub wanted: Vec<ClaimRef>,
    /// Claims of this session that an operator repositioned, under their new epochs: to be claimed again.
    pub repositioned: Vec<ClaimRef>,
    /// Leases of this session that another waits for (rule S9).
    pub contended: Vec<LeaseRef>,
    /// Parked events that an operator released, of partitions that this session owns, and of the asked
    /// subscriptions without partitions, whose keys are for whoever takes their leases (rule P3).
    pub released: Vec<Parked>,
}
