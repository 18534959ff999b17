//! One partition: records in the order of their offsets.

use std::collections::VecDeque;

use crate::broker::Reset;
use crate::env::Timestamp;
use crate::event::Record;

/// The records from `low` on, without gaps.
#[derive(Default)]
pub(super) struct Log {
    low: u64,
    records: VecDeque<Record>,
}

impl Log {
    pub(super) fn low(&self) -> u64 {
        self.low
    }

    /// The offset that the next record will get.
    pub(super) fn high(&self) -> u64 {
        self.low + self.records.len() as u64
    }

    pub(super) fn append(&mut self, record: Record) -> u64 {
        let offset = self.high();
        self.records.push_back(record);
        offset
    }

    pub(super) fn expire(&mut self, below: u64) {
        let gone = below.min(self.high()).saturating_sub(self.low);
        self.records.drain(..usize::try_from(gone).unwrap_or(usize::MAX));
        self.low += gone;
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.iter()
    }

    /// The first record at or after an offset.
    pub(super) fn from(&self, offset: u64) -> Option<(u64, &Record)> {
        let offset = offset.max(self.low);
        let at = usize::try_from(offset - self.low).ok()?;
        self.records.get(at).map(|record| (offset, record))
    }

    /// Where a group without a position begins.
    pub(super) fn origin(&self, reset: Reset) -> u64 {
        match reset {
            Reset::Earliest => self.low,
            Reset::Latest => self.high(),
            Reset::Time(since) => self.at(since),
        }
    }

    fn at(&self, since: Timestamp) -> u64 {
        let before = self.records.iter().take_while(|record| record.time.is_none_or(|time| time < since));
        self.low + before.count() as u64
    }
}
