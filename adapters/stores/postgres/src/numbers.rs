//! The numbers that PostgreSQL knows: signed ones; and the times of the runtime in them.

use std::time::Duration;

use keylane::broker::Partition;
use keylane::event::PayloadHash;
use keylane::{Error, ErrorKind};
use uuid::Uuid;

/// Offsets, epochs and hashes keep their bits; the order of what is greater than an `i64` is not asked of SQL.
pub(crate) const fn signed(number: u64) -> i64 {
    number.cast_signed()
}

/// What [`signed`] made of a number.
pub(crate) const fn unsigned(number: i64) -> u64 {
    number.cast_unsigned()
}

/// A number that was stored from 32 bits.
pub(crate) fn small(number: i64) -> Result<u32, Error> {
    u32::try_from(number)
        .map_err(|_| Error::new(ErrorKind::Corrupt, format!("{number} is stored as a small number")))
}

/// Marks of a lease; all of them are the greatest number here as there.
pub(crate) fn marked(marks: u32) -> i32 {
    i32::try_from(marks).unwrap_or(i32::MAX)
}

/// What [`marked`] made of them.
pub(crate) fn marks(marked: i32) -> u32 {
    u32::try_from(marked).ok().filter(|_| marked < i32::MAX).unwrap_or(u32::MAX)
}

pub(crate) fn partition(number: i64) -> Result<Partition, Error> {
    small(number)
}

pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A payload's hash has the size of a UUID, and is stored as one: without a length.
pub(crate) const fn hash(payload: PayloadHash) -> Uuid {
    Uuid::from_bytes(payload.0)
}
