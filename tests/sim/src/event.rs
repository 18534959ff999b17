//! The events of a story.

use std::fmt;

use keylane::event::Record;

/// The `number`-th event of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// Of which key.
    pub key: u64,
    /// From 1 on.
    pub number: u64,
    /// Another payload under the same id: a producer's mistake (rule L4).
    pub other: bool,
}

impl Event {
    /// The first, right one of its id.
    #[must_use]
    pub const fn new(key: u64, number: u64) -> Self {
        Self { key, number, other: false }
    }

    /// The key as it is published.
    #[must_use]
    pub fn key_text(self) -> String {
        format!("k{}", self.key)
    }

    /// The payload.
    #[must_use]
    pub fn payload(self) -> String {
        let mark = if self.other { "!" } else { "" };
        format!("{}{mark}", self.number)
    }

    /// As it is published.
    #[must_use]
    pub fn record(self) -> Record {
        Record::new(self.payload())
            .with_key(self.key_text())
            .with_header("ce_specversion", "1.0")
            .with_header("ce_source", "sim")
            .with_header("ce_type", "tick")
            .with_header("ce_id", format!("k{}/{}", self.key, self.number))
    }

    /// What was published so.
    #[must_use]
    pub fn of_record(record: &Record) -> Option<Self> {
        Self::of(record.key.as_ref()?, &record.payload)
    }

    /// From a key and a payload.
    #[must_use]
    pub fn of(key: &[u8], payload: &[u8]) -> Option<Self> {
        let key = std::str::from_utf8(key).ok()?.strip_prefix('k')?.parse().ok()?;
        let text = std::str::from_utf8(payload).ok()?;
        let number = text.trim_end_matches('!');
        Some(Self { key, number: number.parse().ok()?, other: number.len() < text.len() })
    }

    /// From its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (key, payload) = text.rsplit_once('/')?;
        Self::of(key.as_bytes(), payload.as_bytes())
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.key_text(), self.payload())
    }
}
