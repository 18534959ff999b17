//! Our numbers as SQLite has them: signed, 64 bits.

use std::time::Duration;

use keylane::env::Timestamp;

/// As a column; what does not fit is past every offset that there is.
pub(crate) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// From a column that never holds less than zero.
pub(crate) fn unsigned(column: i64) -> u64 {
    u64::try_from(column).unwrap_or(0)
}

/// A partition from its column.
pub(crate) fn partition(column: i64) -> u32 {
    u32::try_from(column).unwrap_or(0)
}

/// A point in time from its column of microseconds.
pub(crate) fn time(column: i64) -> Timestamp {
    Timestamp::from_micros(column)
}

/// A length of time as a number of microseconds.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
