//! What the database holds. Ordered maps throughout, so that equal histories give equal answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::lease::{LeaseRow, Tried};
use super::ledger::Ledger;
use super::parking::Parking;
use super::tables::Tables;
use crate::broker::Partition;
use crate::env::Timestamp;
use crate::store::{AttemptRow, ClaimRef, Hold, LeaseKey, Position, ReadFrom, Scope, SessionId};
use crate::text::Text;
use crate::watermark::{WINDOW_MAX, Watermark};

/// All rows of one database.
#[derive(Default)]
pub(super) struct State {
    pub(super) sessions: BTreeMap<SessionId, SessionRow>,
    /// Ids that were used (rule S1). Grows by 16 bytes a session, of which a worker has one at a time.
    pub(super) used: BTreeSet<SessionId>,
    pub(super) claims: BTreeMap<(Scope, Partition), ClaimRow>,
    pub(super) leases: BTreeMap<LeaseKey, LeaseRow>,
    /// The last one drawn (rule A4).
    pub(super) token: u64,
    pub(super) ledgers: BTreeMap<Scope, Ledger>,
    /// Of claimed partitions, by place.
    pub(super) attempts: BTreeMap<Place, AttemptRow>,
    /// Of leased keys, by the event's id.
    pub(super) tries: BTreeMap<(Scope, Text), Tried>,
    pub(super) parking: Parking,
    pub(super) tables: Tables,
}

/// A record's place: with the generation in which it was read, and its offset.
pub(super) type Place = (Scope, Partition, u64, u64);

/// A worker's row.
pub(super) struct SessionRow {
    pub(super) worker: String,
    pub(super) lifetime: Duration,
    pub(super) expires: Timestamp,
}

/// A partition's row: who has it, and how far it is.
#[derive(Clone, Default)]
pub(super) struct ClaimRow {
    pub(super) owner: Option<SessionId>,
    pub(super) epoch: u64,
    pub(super) position: Option<Position>,
    /// The owner before the present one did not let go cleanly.
    pub(super) unclean: bool,
    /// Since when another asks for it (rule S5).
    pub(super) wanted_since: Option<Timestamp>,
    /// How often it was repositioned.
    pub(super) generation: u64,
    /// Where to read from while there is no position (rule L2).
    pub(super) read_from: Option<ReadFrom>,
    /// Since its owner claimed it, an operator did so.
    pub(super) repositioned: bool,
}

impl State {
    /// Whether this session is still the only one to run what the hold covers (rules C1, S2).
    pub(super) fn holds(&self, session: SessionId, hold: &Hold) -> bool {
        match hold {
            Hold::Claim(claim) => self.is_held(session, claim),
            Hold::Lease(lease) => self.is_leased(session, lease),
        }
    }

    /// Whether this claim is still its session's (rules C1, S2).
    pub(super) fn is_held(&self, session: SessionId, claim: &ClaimRef) -> bool {
        self.row(claim).is_some_and(|row| {
            row.owner == Some(session) && (row.epoch == claim.epoch || mutant!("c1-epoch-ignored"))
        })
    }

    /// Whether this session may give the claim back: also by the name it had before an operator raised its
    /// epoch (rule L2).
    pub(super) fn is_owned(&self, session: SessionId, claim: &ClaimRef) -> bool {
        let renamed =
            |row: &ClaimRow| row.owner == Some(session) && row.repositioned && row.epoch > claim.epoch;
        self.is_held(session, claim) || self.row(claim).is_some_and(renamed)
    }

    /// The row of the claim's partition, whoever has it now.
    pub(super) fn row(&self, claim: &ClaimRef) -> Option<&ClaimRow> {
        self.claims.get(&(claim.scope.clone(), claim.partition))
    }

    /// What the partition's stored position covers.
    pub(super) fn passed(&self, claim: &ClaimRef) -> Option<Watermark> {
        let position = self.row(claim)?.position.as_ref()?;
        Watermark::restore(position.base, &position.sparse, WINDOW_MAX).ok()
    }

    /// Drops ledger containers of a subscription, of all its sources, and what was left behind for that long.
    pub(super) fn sweep(&mut self, subscription: &str, keep: Duration, now: Timestamp) -> u64 {
        self.sessions.retain(|_, session| now < session.expires + keep);
        self.forget_waiting();
        self.sweep_leases(subscription, keep, now);
        let of_subscription =
            self.ledgers.iter_mut().filter(|(scope, _)| *scope.subscription == *subscription);
        of_subscription.map(|(_, ledger)| ledger.sweep(keep, now)).sum()
    }
}
