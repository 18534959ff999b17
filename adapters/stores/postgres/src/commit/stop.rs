//! Why a transaction of a commit stopped before its end.

use keylane::{Error, ErrorKind, Failure};

use crate::database::Link;
use crate::error::{
    failed, is_collision, is_collision_of_its_own, is_lost, is_not_plain, is_spoilt, is_taken,
};

/// Nothing of the transaction is written.
pub(super) enum Stop {
    /// Something is not as it was taken to be, or is not any more: to be done again, knowing better.
    NotPlain,
    /// Another transaction was in the way (rule C4): to be done again as it is.
    Collided(Error),
    /// An effect failed, or ended or spoilt the transaction: to be replayed with savepoints.
    Failed,
    /// This unit's effects ended the transaction, or were given all of its time: to be replayed without it.
    Broken(usize, Failure),
    /// The time was up before this unit's effects ended: it begins a transaction of its own.
    Late(usize),
    /// The commit itself failed (rule C4).
    Refused(Failure),
    /// The store's error.
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Stop {
    /// What a failed statement of ours means.
    pub(super) fn of(link: &mut Link<'_>, what: &str, error: sqlx::Error) -> Self {
        link.note(&error);
        match error {
            error if is_not_plain(&error) => Self::NotPlain,
            error if is_spoilt(&error) => Self::Failed,
            error if is_collision(&error) => Self::Collided(failed(what, error)),
            error => Self::Error(failed(what, error)),
        }
    }

    /// The same of a statement that writes a plain group: a key that is taken is one of the ledger's (rule C2).
    pub(super) fn of_plain(link: &mut Link<'_>, what: &str, error: sqlx::Error) -> Self {
        if is_taken(&error) { Self::NotPlain } else { Self::of(link, what, error) }
    }

    /// The same of statements of handlers with which the commit travelled: they are of no other group, and a failure is
    /// somebody's of this one.
    pub(super) fn of_statements(error: sqlx::Error) -> Self {
        match error {
            error if is_not_plain(&error) => Self::NotPlain,
            error if is_collision_of_its_own(&error) => Self::Collided(failed("could not commit", error)),
            _ => Self::Failed,
        }
    }

    /// What it means that the commit itself failed. C4: deadlocks and serialization are nobody's fault; anything else
    /// that was answered is somebody's in the group.
    pub(super) fn of_commit(error: sqlx::Error) -> Self {
        match error {
            error if is_lost(&error) => Self::unknown(error),
            error if is_collision(&error) => Self::Collided(failed("could not commit", error)),
            error => Self::Refused(error.into()),
        }
    }

    /// U1: the commit may have been done, or may yet be.
    pub(super) fn unknown(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Error(Error::new(ErrorKind::Unknown, "the answer to a commit was lost").with_source(error))
    }
}
