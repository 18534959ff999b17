//! Lengths of time as text: `"250ms"`, `"30s"`, `"1h30m"`.
//!
//! The grammar is one or more `NUMBER UNIT`, without spaces: whole decimal numbers, the units `d`,
//! `h`, `m`, `s`, `ms`, `us`, `ns`, each at most once, largest first. A day is 24 hours; months and
//! years, whose length depends on the calendar, do not exist.
//!
//! The parser is our own: jiff's friendly format also takes spaces, words, signs, fractions, months
//! and years, and refusing all of those costs more lines than reading what is left.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::written;
use crate::error::Error;

/// A length of time in the configuration, such as `"250ms"`; at most about 584 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Period(u64);

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The units with their nanoseconds, largest first: the order in which they must stand.
const UNITS: [(&str, u64); 7] = [
    ("d", 24 * 60 * 60 * NANOS_PER_SECOND),
    ("h", 60 * 60 * NANOS_PER_SECOND),
    ("m", 60 * NANOS_PER_SECOND),
    ("s", NANOS_PER_SECOND),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

const REMEDY: &str = "a duration; write whole numbers with the units d, h, m, s, ms, us or ns, \
                      largest first, such as \"250ms\" or \"1h30m\"";

impl Period {
    /// So many milliseconds.
    #[must_use]
    pub const fn millis(count: u32) -> Self {
        Self(count as u64 * 1_000_000)
    }

    /// So many seconds.
    #[must_use]
    pub const fn secs(count: u32) -> Self {
        Self(count as u64 * NANOS_PER_SECOND)
    }

    /// So many days of 24 hours.
    #[must_use]
    pub const fn days(count: u16) -> Self {
        Self(count as u64 * UNITS[0].1)
    }

    /// Both together, at most the greatest there is.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The same as the standard library's type.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        period.duration()
    }
}

impl FromStr for Period {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        nanos_of(text).map(Self).ok_or_else(|| written::malformed(text, REMEDY))
    }
}

/// The nanoseconds that `text` says, or nothing when it breaks the grammar or is too long a time.
fn nanos_of(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, after) = after.split_at(letters);
        // Searching on from the last unit refuses repeated and rising ones.
        let (_, nanos) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*nanos)?)?;
        rest = after;
    }
    Some(total)
}

/// The shortest text that reads back as the same period.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, nanos) in UNITS {
            if rest >= nanos {
                write!(f, "{}{unit}", rest / nanos)?;
                rest %= nanos;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        written::deserialize(deserializer, "a duration such as \"250ms\"")
    }
}

impl JsonSchema for Period {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(\\d+(d|h|m|s|ms|us|ns))+$",
            "x-grammar": "duration",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_and_what_they_mean() {
        for (text, nanos) in [
            ("0s", 0),
            ("00s", 0),
            ("1ns", 1),
            ("250ms", 250_000_000),
            ("1h30m", 5_400 * NANOS_PER_SECOND),
            ("1d1h1m1s1ms1us1ns", 90_061_001_001_001),
            ("18446744073709551615ns", u64::MAX),
        ] {
            assert_eq!(text.parse::<Period>().unwrap(), Period(nanos), "{text}");
        }
    }

    #[test]
    fn texts_that_are_refused() {
        for text in [
            "",
            " ",
            "5",
            "s",
            "1.5s",
            "-1s",
            "+1s",
            "1 s",
            "1s ",
            "1S",
            "30m1h",
            "1s1s",
            "1m1ms1s",
            "1y",
            "1mo",
            "1w",
            "5 minutes",
            "1µs",
            "\u{661}s",
            "18446744073709551616ns",
            "18446744073709551615ns1ns",
            "213504d",
        ] {
            assert!(text.parse::<Period>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_message_says_what_to_write() {
        let error = "5 minutes".parse::<Period>().unwrap_err();
        insta::assert_snapshot!(error, @r#"`5 minutes` is not a duration; write whole numbers with the units d, h, m, s, ms, us or ns, largest first, such as "250ms" or "1h30m""#);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(nanos: u64) {
            let period = Period(nanos);
            prop_assert_eq!(period.to_string().parse::<Period>().unwrap(), period);
        }

        #[test]
        fn what_is_read_is_written_canonically(text in "([0-9]{1,4}(d|h|m|s|ms|us|ns)){1,4}") {
            if let Ok(period) = text.parse::<Period>() {
                prop_assert_eq!(period.to_string().parse::<Period>().unwrap(), period);
            }
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Period>();
        }
    }
}
