//! The keys of `[broker.NAME.log]`.

use std::num::NonZeroU32;

use keylane::config::{Component, Findings, Period, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::publisher::Limits;
use crate::retention::Keep;
use crate::stream::{PARTITIONS_MAX, check_name};

/// An embedded log in a SQLite file, for development and for services on one machine.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["path"]))]
pub struct LogConfig {
    /// The file. It is created where it does not exist; its folder must exist. Where it is the SQLite
    /// store's file too, both share its one writer.
    #[schemars(length(min = 1))]
    pub path: String,

    /// Streams that are made at start where they do not exist.
    pub streams: Vec<String>,

    /// Partitions of a stream that is made from now on; an existing one keeps its own. It is the most
    /// workers that can share a stream.
    #[schemars(range(min = 1, max = 4096))]
    pub partitions: u32,

    /// Whether publishing to a stream that does not exist makes it. Otherwise that is an error.
    pub create_streams: bool,

    /// The greatest record: key, headers and payload, and a few bytes for their lengths.
    #[schemars(extend("x-minimum" = "1KiB", "x-maximum" = "256MiB"))]
    pub record_max: Size,

    /// Lets go of records older than this, whether or not any group has read them. Without any of the
    /// three `keep_` keys everything is kept.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "36500d"))]
    pub keep_for: Option<Period>,

    /// Lets go of the oldest records of a partition beyond so many, whether or not any group has read them.
    #[schemars(range(min = 1))]
    pub keep_records: Option<u64>,

    /// Lets go of the oldest records of a partition beyond so many bytes, whether or not any group has
    /// read them.
    #[schemars(extend("x-minimum" = "64KiB", "x-maximum" = "1024TiB"))]
    pub keep_bytes: Option<Size>,

    /// How often it is looked for what may go.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "1d"))]
    pub sweep_every: Period,

    /// A member of a group that gave no sign of life for this long is gone, and its partitions go to others.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "10m"))]
    pub member_expiry: Period,

    /// How long a partition that moves waits for its old owner to let go; then it moves nevertheless.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "1h"))]
    pub handback_max: Period,

    /// The longest wait between two looks for what other processes appended. What this process appends
    /// is seen at once.
    #[schemars(extend("x-minimum" = "5ms", "x-maximum" = "10s"))]
    pub poll_max: Period,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            path: String::new(),
            streams: Vec::new(),
            partitions: 8,
            create_streams: true,
            record_max: Size::mib(1),
            keep_for: None,
            keep_records: None,
            keep_bytes: None,
            sweep_every: Period::secs(60),
            member_expiry: Period::secs(10),
            handback_max: Period::secs(30),
            poll_max: Period::millis(50),
        }
    }
}

impl Component for LogConfig {
    fn check(&self, found: &mut Findings) {
        for name in &self.streams {
            if let Err(error) = check_name(name) {
                found.wrong("streams", format!("holds a {error}"));
            }
        }
    }
}

impl LogConfig {
    /// Within its range also where the configuration did not come from a file.
    pub(crate) fn partitions(&self) -> NonZeroU32 {
        NonZeroU32::new(self.partitions.min(PARTITIONS_MAX)).unwrap_or(NonZeroU32::MIN)
    }

    pub(crate) fn keep(&self) -> Keep {
        Keep {
            time: self.keep_for.map(Period::duration),
            records: self.keep_records,
            bytes: self.keep_bytes.map(Size::bytes),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { record_max: self.record_max.as_usize(), create: self.create_streams }
    }
}

#[cfg(test)]
mod tests {
    use keylane::config::Section;

    use super::*;

    #[test]
    fn the_least_that_works_is_a_path() {
        let config: LogConfig = Section::parse("path = \"app.db\"").unwrap().read().unwrap();
        assert_eq!(
            (config.path.as_str(), config.partitions(), config.keep()),
            ("app.db", EIGHT, Keep::default())
        );
    }

    const EIGHT: NonZeroU32 = NonZeroU32::new(8).expect("eight is not zero");

    #[test]
    fn what_is_wrong_is_told_with_its_key() {
        for (text, key) in [
            ("path = \"\"", "path"),
            ("path = \"a\"\npartitions = 0", "partitions"),
            ("path = \"a\"\nstreams = [\"\"]", "streams"),
            ("path = \"a\"\nkeep = \"1d\"", "keep"),
            ("path = \"a\"\nkeep_bytes = \"1B\"", "keep_bytes"),
        ] {
            let error = Section::parse(text).and_then(|section| section.read::<LogConfig>()).unwrap_err();
            assert!(format!("{error:?}").contains(key), "{text}: {error:?}");
        }
    }
}
