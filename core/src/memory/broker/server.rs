//! What the server holds: sources with their logs and groups.

use std::collections::{BTreeMap, BTreeSet};

use super::assign::Hold;
use super::log::Log;
use crate::broker::{Base, Partition};
use crate::env::Instant;
use crate::text::Text;

#[derive(Default)]
pub(super) struct State {
    pub(super) sources: BTreeMap<String, Source>,
    pub(super) away: bool,
    /// Numbers members and sources; never the same twice.
    serial: u64,
}

pub(super) struct Source {
    pub(super) identity: Text,
    pub(super) partitions: Vec<Log>,
    pub(super) groups: BTreeMap<String, Group>,
    /// Where the next record without a key goes.
    pub(super) round: u32,
}

/// The consumers that share a source's events.
#[derive(Default)]
pub(super) struct Group {
    /// By number, which is the order of joining.
    pub(super) members: BTreeMap<u64, Member>,
    pub(super) holds: BTreeMap<Partition, Hold>,
    pub(super) committed: BTreeMap<Partition, u64>,
}

#[derive(Default)]
pub(super) struct Member {
    /// Assignment changes that it did not pull yet.
    pub(super) news: Vec<News>,
    /// Partitions that it started and still holds.
    pub(super) reading: BTreeMap<Partition, Reading>,
    /// Where the next pull looks first, so that no partition starves another.
    pub(super) turn: Partition,
    pub(super) paused: BTreeSet<Partition>,
}

pub(super) enum News {
    Assigned(Vec<Partition>),
    Revoking(Vec<Partition>),
    Lost(Vec<Partition>),
    /// Retention overtook this reader.
    Broken {
        partition: Partition,
        reading: Reading,
        low: u64,
    },
}

#[derive(Clone, Copy)]
pub(super) struct Reading {
    pub(super) next: u64,
    pub(super) epoch: u64,
    /// What comes next is gone, and its member was told.
    pub(super) broken: bool,
}

impl State {
    pub(super) fn create(&mut self, source: &str, partitions: u32) {
        if self.sources.contains_key(source) {
            return;
        }
        let identity = Text::from(format!("memory-{}", self.number()));
        let partitions = (0..partitions).map(|_| Log::default()).collect();
        let groups = BTreeMap::new();
        self.sources.insert(source.to_owned(), Source { identity, partitions, groups, round: 0 });
    }

    pub(super) fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn log(&self, source: &str, partition: Partition) -> Option<&Log> {
        self.sources.get(source)?.partitions.get(partition as usize)
    }

    pub(super) fn log_mut(&mut self, source: &str, partition: Partition) -> Option<&mut Log> {
        self.sources.get_mut(source)?.partitions.get_mut(partition as usize)
    }

    pub(super) fn group_mut(&mut self, source: &str, group: &str) -> Option<&mut Group> {
        self.sources.get_mut(source)?.groups.get_mut(group)
    }
}

impl Group {
    /// Notes how far a member is. A base of an older epoch, or of a partition that is another's, is stale.
    pub(super) fn commit(&mut self, member: u64, bases: &[Base]) {
        for base in bases {
            if !self.has(member, base.partition) {
                continue;
            }
            let reading = self.members.get(&member).and_then(|member| member.reading.get(&base.partition));
            if reading.is_some_and(|reading| reading.epoch == base.epoch) {
                self.committed.insert(base.partition, base.offset);
            }
        }
    }

    /// Whether a partition is this member's, be it on its way to another.
    pub(super) fn has(&self, member: u64, partition: Partition) -> bool {
        self.holds.get(&partition).is_some_and(|hold| hold.member() == Some(member))
    }

    /// When the first revocation that is under way has to end.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.holds.values().filter_map(Hold::deadline).min()
    }
}
