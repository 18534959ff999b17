//! The error boundary: what SQLite says, as a broker's error with its class.

use keylane::broker::Partition;
use keylane::{Class, Error, ErrorKind};

use crate::stream::Stream;

/// A broker error that says `what` was being done.
pub(crate) fn failed(what: impl Into<String>) -> impl FnOnce(sqlx::Error) -> Error {
    let what = what.into();
    move |error| {
        let class = class_of(&error);
        Error::new(ErrorKind::Broker, what).with_class(class).with_source(error)
    }
}

/// The stream is gone, by an operator's act; reading on by its name would be reading another log.
pub(crate) fn deleted(name: &str) -> Error {
    let what = format!("stream `{name}` was deleted; start again to read the one that now has its name");
    Error::new(ErrorKind::Broker, what).with_class(Class::Permanent)
}

/// There is no such stream.
pub(crate) fn unknown(name: &str) -> Error {
    let what = format!(
        "there is no stream `{name}`; publish to it first, or name it under `streams` in the log's configuration"
    );
    Error::new(ErrorKind::Broker, what).with_class(Class::Permanent)
}

/// A chunk that can't be read.
pub(crate) fn malformed(stream: &Stream, partition: Partition, offset: u64) -> Error {
    let what = format!(
        "the record at {}/{partition}/{offset} can't be read: the file is damaged; restore it from a copy",
        stream.name
    );
    Error::new(ErrorKind::Corrupt, what)
}

/// Retention overtook the reader (rule L2).
pub(crate) fn expired(stream: &Stream, partition: Partition, wanted: u64, low: u64) -> Error {
    let what = format!(
        "{}/{partition}: the records from {wanted} on were let go of before they were read, the first still \
         there is {low}; keep more, or set the group's position anew",
        stream.name
    );
    Error::new(ErrorKind::LogChanged, what)
}

/// The broker, the consumer or the publisher was closed.
pub(crate) fn closed(what: &str) -> Error {
    Error::new(ErrorKind::Closed, format!("{what} is closed"))
}

/// The same failure once more, for each of those that it hit.
pub(crate) fn repeated(error: &Error) -> Error {
    Error::new(error.kind(), error.to_string()).with_class(error.class())
}

/// A damaged file and a wrong statement stay wrong; for all else somebody or some time may help.
fn class_of(error: &sqlx::Error) -> Class {
    const ERROR: u32 = 1;
    const CORRUPT: u32 = 11;
    const NOT_A_DATABASE: u32 = 26;
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    // The low byte of SQLite's extended result code names the kind.
    match code.map(|code| code & 0xff) {
        Some(ERROR | CORRUPT | NOT_A_DATABASE) => Class::Permanent,
        _ => Class::Transient,
    }
}
