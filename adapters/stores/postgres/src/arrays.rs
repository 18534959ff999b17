//! A group's holds as the arrays that our functions take.

use keylane::Error;
use keylane::store::{CommitGroup, HoldCommit};

use crate::PostgresStore;
use crate::numbers::signed;

/// One element a hold; our functions number them from 1.
#[derive(Debug)]
pub(crate) struct Holds {
    pub(crate) scope: Vec<i32>,
    /// `None` of a lease.
    pub(crate) partition: Vec<Option<i64>>,
    /// `None` of a claim.
    pub(crate) key: Vec<Option<Vec<u8>>>,
    /// Epoch or token.
    pub(crate) number: Vec<i64>,
}

impl Holds {
    pub(crate) async fn of(store: &PostgresStore, group: &CommitGroup) -> Result<Self, Error> {
        let scopes = group.holds.iter().map(HoldCommit::scope);
        let scope = store.scopes.numbers(&store.database, scopes).await?;
        let claims = || group.holds.iter().map(HoldCommit::claim);
        Ok(Self {
            scope,
            partition: claims().map(|claim| Some(i64::from(claim?.claim.partition))).collect(),
            key: group.holds.iter().map(|hold| Some(hold.lease()?.lease.lease.key.to_vec())).collect(),
            number: group.holds.iter().map(number).collect(),
        })
    }

    /// The end of a function's name: that of the scope's own, where all are of one scope.
    pub(crate) fn suffix(&self) -> String {
        match self.scope.split_first() {
            Some((scope, others)) if others.iter().all(|other| other == scope) => format!("_{scope}"),
            _ => String::new(),
        }
    }
}

fn number(hold: &HoldCommit) -> i64 {
    signed(match hold {
        HoldCommit::Claim(claim) => claim.claim.epoch,
        HoldCommit::Lease(lease) => lease.lease.token,
    })
}

/// As our functions number holds and events.
pub(crate) fn counted(at: usize) -> i32 {
    i32::try_from(at + 1).unwrap_or(i32::MAX)
}

/// From such a number.
pub(crate) fn index(number: i32) -> usize {
    crate::admit::place(number.into())
}
