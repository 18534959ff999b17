//! The error boundary: what SQLite says, as an error of ours with its class.

use keylane::{Class, Error, ErrorKind};

/// A store error that says `what` was being done; its class follows from SQLite's code.
pub(crate) fn failed(what: impl Into<String>, error: sqlx::Error) -> Error {
    let class = class_of(&error);
    Error::new(ErrorKind::Store, what).with_class(class).with_source(error)
}

/// True when another process (or another connection) has the file.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(BUSY | LOCKED))
}

/// True when a constraint was broken, at a statement or, if it is a deferred one, at the commit.
pub(crate) fn is_constraint(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(CONSTRAINT)
}

const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const INTERRUPT: u32 = 9;
const IO: u32 = 10;
const FULL: u32 = 13;
const CANNOT_OPEN: u32 = 14;
const PROTOCOL: u32 = 15;
const CONSTRAINT: u32 = 19;

fn class_of(error: &sqlx::Error) -> Class {
    match primary_code(error) {
        // A full disk, a file system that is away: somebody may bring it back.
        Some(BUSY | LOCKED | INTERRUPT | IO | FULL | CANNOT_OPEN | PROTOCOL) => Class::Transient,
        Some(_) => Class::Permanent,
        None => match error {
            sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => Class::Transient,
            _ => Class::Permanent,
        },
    }
}

/// The low byte of SQLite's extended result code names the kind.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
