//! Numbers of bytes as text: `"512B"`, `"64KiB"`, `"1MiB"`, `"1GB"`.
//!
//! The grammar is one whole decimal number and one unit, without a space: `B`, the powers of 1024
//! `KiB`, `MiB`, `GiB`, `TiB`, and the powers of 1000 `KB`, `MB`, `GB`, `TB`.
//!
//! The parser is our own: bytesize also takes fractions, spaces, bare numbers and units in any case,
//! and what it writes is rounded, so that it does not read back.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::written;
use crate::error::Error;

/// A number of bytes in the configuration, such as `"1MiB"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(u64);

/// The units with their bytes, largest first.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

const REMEDY: &str = "a size; write a whole number with one of the units B, KiB, MiB, GiB, TiB, KB, MB, GB or \
                      TB, such as \"512B\" or \"1MiB\"";

impl Size {
    /// So many bytes.
    #[must_use]
    pub const fn b(count: u64) -> Self {
        Self(count)
    }

    /// So many times 1024 bytes.
    #[must_use]
    pub const fn kib(count: u32) -> Self {
        Self((count as u64) << 10)
    }

    /// So many times 1024 KiB.
    #[must_use]
    pub const fn mib(count: u32) -> Self {
        Self((count as u64) << 20)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory; on a machine where it is none, the greatest.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Size {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        bytes_of(text).map(Self).ok_or_else(|| written::malformed(text, REMEDY))
    }
}

/// The bytes that `text` says, or nothing when it breaks the grammar or is too many.
fn bytes_of(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*bytes)
}

/// In the largest unit that leaves a whole number.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().find(|(_, bytes)| self.0 != 0 && self.0.is_multiple_of(*bytes));
        let (unit, bytes) = whole.unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / bytes)
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        written::deserialize(deserializer, "a size such as \"1MiB\"")
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^\\d+([KMGT]i?)?B$",
            "x-grammar": "size",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_and_what_they_mean() {
        for (text, bytes, written) in [
            ("0B", 0, "0B"),
            ("512B", 512, "512B"),
            ("1024B", 1024, "1KiB"),
            ("64KiB", 65_536, "64KiB"),
            ("1MiB", 1_048_576, "1MiB"),
            ("1GB", 1_000_000_000, "1GB"),
            ("16777215TiB", 16_777_215 << 40, "16777215TiB"),
            ("18446744073709551615B", u64::MAX, "18446744073709551615B"),
        ] {
            let size = text.parse::<Size>().unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, written), "{text}");
        }
    }

    #[test]
    fn texts_that_are_refused() {
        for text in [
            "",
            "B",
            "5",
            "1.5MB",
            "-1B",
            "+1B",
            "1 MB",
            "1mb",
            "1kB",
            "1M",
            "1MiBB",
            "1MB1KB",
            "1PB",
            "16777216TiB",
            "18446744073709551616B",
            "\u{661}B",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_message_says_what_to_write() {
        let error = "1mb".parse::<Size>().unwrap_err();
        insta::assert_snapshot!(error, @r#"`1mb` is not a size; write a whole number with one of the units B, KiB, MiB, GiB, TiB, KB, MB, GB or TB, such as "512B" or "1MiB""#);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bytes: u64) {
            prop_assert_eq!(Size(bytes).to_string().parse::<Size>().unwrap(), Size(bytes));
        }

        #[test]
        fn what_is_read_is_written_canonically(text in "[0-9]{1,7}(B|[KMGT]i?B)") {
            let size = text.parse::<Size>().unwrap();
            prop_assert_eq!(size.to_string().parse::<Size>().unwrap(), size);
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Size>();
        }
    }
}
