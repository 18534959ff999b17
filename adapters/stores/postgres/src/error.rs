//! The error boundary: what PostgreSQL says, as an error of ours with its class.

use keylane::{Class, Error, ErrorKind};
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// The session's row is gone (rule S1); raised by our functions.
const SESSION_LOST: &str = "KL001";
/// A group is not as plain as it was taken to be.
const NOT_PLAIN: &str = "KL002";
/// The transaction is not READ COMMITTED (rule A1).
const ISOLATION: &str = "KL003";
/// A write ended the transaction that it was lent.
const NOT_OURS: &str = "KL004";

/// A store error that says `what` was being done; its class follows from the server's code.
pub(crate) fn failed(what: impl Into<String>, error: sqlx::Error) -> Error {
    let kind = match code(&error) {
        Some(SESSION_LOST) => ErrorKind::SessionLost,
        _ => ErrorKind::Store,
    };
    let class = class_of(&error);
    Error::new(kind, what).with_class(class).with_source(error)
}

/// The server is gone, or this connection to it: whether a statement that was under way was done is not known.
pub(crate) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(said) => {
            let severity = said.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::severity);
            matches!(severity, Some(PgSeverity::Fatal | PgSeverity::Panic))
                || said.code().is_some_and(|code| code.starts_with("08") || code.starts_with("57P"))
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::PoolClosed => true,
        _ => false,
    }
}

/// Another transaction was in the way; the same again may go through (rule C4).
pub(crate) fn is_collision(error: &sqlx::Error) -> bool {
    matches!(code(error), Some("40001" | "40P01"))
}

/// Another transaction was in the way of a handler's statement: the server says so, not a function of the service, which
/// may raise these codes for reasons of its own.
pub(crate) fn is_collision_of_its_own(error: &sqlx::Error) -> bool {
    is_collision(error) && routine(error) != Some("exec_stmt_raise")
}

/// The answer of a server that is still there, about a statement that met a connection of its own to elsewhere: of a foreign
/// table, a function. What a pooler says is none.
pub(crate) fn is_answer(error: &sqlx::Error) -> bool {
    let said = error.as_database_error().and_then(|said| said.try_downcast_ref::<PgDatabaseError>());
    said.is_some_and(|said| {
        !matches!(said.severity(), PgSeverity::Fatal | PgSeverity::Panic) && said.code() != "08P01"
    })
}

/// The group must go the longer way.
pub(crate) fn is_not_plain(error: &sqlx::Error) -> bool {
    code(error) == Some(NOT_PLAIN)
}

/// The transaction was spoilt or ended by what ran in it: a statement that failed and was passed over, a COMMIT; or a
/// ROLLBACK, behind which the connection only reads.
pub(crate) fn is_spoilt(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(NOT_OURS | "25P01" | "25P02" | "3B001" | "25006"))
}

/// The transaction is as good as before its last savepoint.
pub(crate) fn is_aborted(error: &sqlx::Error) -> bool {
    code(error) == Some("25P02")
}

/// A unique key is taken.
pub(crate) fn is_taken(error: &sqlx::Error) -> bool {
    code(error) == Some("23505")
}

fn routine(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?.routine()
}

fn code(error: &sqlx::Error) -> Option<&str> {
    let said = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    Some(said.code())
}

fn class_of(error: &sqlx::Error) -> Class {
    if is_lost(error) || is_collision(error) {
        return Class::Transient;
    }
    match code(error) {
        Some(SESSION_LOST | ISOLATION) => Class::Permanent,
        // Resources, locks, operators, the system: somebody or some time may bring it back.
        Some(code) if ["53", "55", "57", "58"].iter().any(|class| code.starts_with(class)) => {
            Class::Transient
        }
        Some(_) => Class::Permanent,
        None => match error {
            sqlx::Error::PoolTimedOut => Class::Transient,
            _ => Class::Permanent,
        },
    }
}
