//! The keys of `[broker.NAME.log]`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use keylane::config::Component;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::retention::Keep;

/// An embedded log in one SQLite file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// The file. Where it is the store's file too, both share its one writer.
    pub path: PathBuf,
    /// Streams that are made at start where they are not there yet.
    pub streams: Vec<String>,
    /// Partitions of a stream that is made from now on; those that are there keep theirs.
    pub partitions: NonZeroU32,
    /// Whether publishing to a stream that is not there makes it; else it is an error.
    pub create_streams: bool,
    /// The greatest record: key, headers and payload, with a few bytes for what holds them.
    pub record_max: usize,
    /// Lets go of records older than this, whether or not any group has read them. Without it, and
    /// without the other two `keep_` keys, everything is kept.
    pub keep_for: Option<Duration>,
    /// Lets go of the oldest records of a partition beyond so many.
    pub keep_records: Option<u64>,
    /// Lets go of the oldest records of a partition beyond so many bytes.
    pub keep_bytes: Option<u64>,
    /// How often it is looked for what may go.
    pub sweep_every: Duration,
    /// A group's member that gave no sign of life for this long is gone; its partitions go to others.
    pub member_expiry: Duration,
    /// How long a partition that is to move waits for what is in flight; then it moves nevertheless.
    pub handback_max: Duration,
    /// The longest wait between two looks for what other processes appended.
    pub poll_max: Duration,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            path: "keylane.db".into(),
            streams: Vec::new(),
            partitions: NonZeroU32::new(8).expect("eight is not zero"),
            create_streams: true,
            record_max: 1024 * 1024,
            keep_for: None,
            keep_records: None,
            keep_bytes: None,
            sweep_every: Duration::from_secs(60),
            member_expiry: Duration::from_secs(10),
            handback_max: Duration::from_secs(30),
            poll_max: Duration::from_millis(50),
        }
    }
}

impl Component for LogConfig {}

impl LogConfig {
    pub(crate) fn keep(&self) -> Keep {
        Keep { time: self.keep_for, records: self.keep_records, bytes: self.keep_bytes }
    }
}
