//! Where a group that has no position yet begins.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::broker::Reset;
use crate::config::written;
use crate::env::Timestamp;
use crate::error::Error;

/// Where a group that has no position yet begins: `earliest`, `latest` or an RFC 3339 time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Start(pub Reset);

const REMEDY: &str =
    "a start; write `earliest`, `latest` or a time with its zone such as `2026-01-31T12:00:00Z`";

impl FromStr for Start {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let reset = match text {
            "earliest" => Some(Reset::Earliest),
            "latest" => Some(Reset::Latest),
            time => time
                .parse::<jiff::Timestamp>()
                .ok()
                .map(|time| Reset::Time(Timestamp::from_micros(time.as_microsecond()))),
        };
        reset.map(Self).ok_or_else(|| written::malformed(text, REMEDY))
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Reset::Earliest => f.write_str("earliest"),
            Reset::Latest => f.write_str("latest"),
            Reset::Time(time) => fmt::Display::fmt(&time, f),
        }
    }
}

impl Serialize for Start {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        written::deserialize(deserializer, "`earliest`, `latest` or a time")
    }
}

impl JsonSchema for Start {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Start".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(earliest|latest|\\d{4}-\\d{2}-\\d{2}[Tt ].+)$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_what_they_mean() {
        let noon = Reset::Time(Timestamp::from_millis(1_769_860_800_000));
        for (text, reset, written) in [
            ("earliest", Reset::Earliest, "earliest"),
            ("latest", Reset::Latest, "latest"),
            ("2026-01-31T12:00:00Z", noon, "2026-01-31T12:00:00Z"),
            ("2026-01-31T13:00:00+01:00", noon, "2026-01-31T12:00:00Z"),
        ] {
            let start = text.parse::<Start>().unwrap();
            assert_eq!((start.0, start.to_string().as_str()), (reset, written), "{text}");
        }
    }

    #[test]
    fn a_time_without_a_zone_is_refused() {
        for text in ["", "Earliest", "now", "2026-01-31", "2026-01-31T12:00:00", "12:00"] {
            assert!(text.parse::<Start>().is_err(), "{text:?}");
        }
    }
}
