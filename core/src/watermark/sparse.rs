//! The stored form of the finished offsets above a base.
//!
//! A version byte, then pairs of varints (LEB128): so many offsets not finished, so many finished, from
//! the base on. No offsets, no bytes at all. Every set has exactly one form; all else is [`Corrupt`].

use std::fmt;

use super::bitmap::Bitmap;
use super::{OFFSET_MAX, WINDOW_MAX};
use crate::error::{Error, ErrorKind};

const VERSION: u8 = 1;

/// A stored watermark that [`Watermark::encode`](super::Watermark::encode) hasn't written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt {
    what: &'static str,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "stored position can't be read: {}; restore the row from a backup, or say where to read on with `Admin::reposition`",
            self.what
        )
    }
}

impl std::error::Error for Corrupt {}

impl From<Corrupt> for Error {
    fn from(corrupt: Corrupt) -> Self {
        Self::new(ErrorKind::Corrupt, corrupt.to_string())
    }
}

pub(super) fn encode(finished: &Bitmap) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (missing, present) in finished.runs() {
        if bytes.is_empty() {
            bytes.push(VERSION);
        }
        write(&mut bytes, missing);
        write(&mut bytes, present);
    }
    bytes
}

pub(super) fn decode(base: u64, sparse: &[u8]) -> Result<Bitmap, Corrupt> {
    if base > OFFSET_MAX + 1 {
        return corrupt("its base is beyond any log");
    }
    let limit = (base + WIDTH_MAX).min(OFFSET_MAX + 1);
    let mut finished = Bitmap::new(base);
    let Some((version, mut rest)) = sparse.split_first() else { return Ok(finished) };
    if *version != VERSION {
        return corrupt("its version is not known here");
    }
    if rest.is_empty() {
        return corrupt("its set is empty, yet there");
    }
    let mut at = base;
    while !rest.is_empty() {
        let missing = read(&mut rest)?;
        let present = read(&mut rest)?;
        let (start, stop) = (at + missing, at + missing + present);
        // Checked before anything grows: a few hostile bytes must not cost memory.
        if stop > limit {
            return corrupt("its set is wider than any window");
        }
        finished.insert_range(start, stop);
        at = stop;
    }
    Ok(finished)
}

const WIDTH_MAX: u64 = WINDOW_MAX as u64;

fn write(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number as u8 & 0x7F) | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads the length of a run: at least one, at most the widest window, in its shortest form.
fn read(rest: &mut &[u8]) -> Result<u64, Corrupt> {
    let mut number = 0;
    for shift in [0, 7, 14] {
        let Some((&byte, tail)) = rest.split_first() else { return corrupt("its last run is cut off") };
        *rest = tail;
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return if byte == 0 { corrupt("it has an empty or padded run") } else { Ok(number) };
        }
    }
    corrupt("it has a run longer than any window")
}

fn corrupt<T>(what: &'static str) -> Result<T, Corrupt> {
    Err(Corrupt { what })
}
