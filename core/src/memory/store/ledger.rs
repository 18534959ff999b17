//! The ledger by id, in generations by the time of insertion; whole generations are dropped (rule L1).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::env::Timestamp;
use crate::event::PayloadHash;
use crate::text::Text;

/// The finished ids of one scope. Lookups go through every generation, of which there are few.
#[derive(Default)]
pub(super) struct Ledger {
    /// Oldest first; inserts go into the last.
    generations: Vec<Generation>,
}

struct Generation {
    opened: Timestamp,
    newest: Timestamp,
    rows: BTreeMap<Text, PayloadHash>,
}

/// A generation takes rows for this part of the keep time, so that a row lives at most that much longer.
const GENERATIONS_A_KEEP: u32 = 4;

impl Ledger {
    /// The payload with which `id` was finished.
    pub(super) fn payload(&self, id: &Text) -> Option<PayloadHash> {
        self.generations.iter().rev().find_map(|generation| generation.rows.get(id)).copied()
    }

    /// Inserts a row; false when the id is there already (rule C2).
    pub(super) fn insert(&mut self, id: &Text, payload: PayloadHash, now: Timestamp) -> bool {
        if self.payload(id).is_some() {
            return false;
        }
        if self.generations.is_empty() {
            self.open(now);
        }
        if let Some(generation) = self.generations.last_mut() {
            generation.newest = generation.newest.max(now);
            generation.rows.insert(id.clone(), payload);
        }
        true
    }

    /// Undoes an insert.
    pub(super) fn remove(&mut self, id: &Text) {
        for generation in &mut self.generations {
            generation.rows.remove(id);
        }
    }

    /// Drops generations whose newest row is older than `keep`, and opens the next one in time.
    pub(super) fn sweep(&mut self, keep: Duration, now: Timestamp) -> u64 {
        let before = self.generations.len();
        self.generations.retain(|generation| now.since(generation.newest) <= keep);
        let dropped = before - self.generations.len();
        let full =
            |last: &Generation| now.since(last.opened) >= keep / GENERATIONS_A_KEEP && !last.rows.is_empty();
        if self.generations.last().is_some_and(full) {
            self.open(now);
        }
        dropped as u64
    }

    fn open(&mut self, now: Timestamp) {
        self.generations.push(Generation { opened: now, newest: now, rows: BTreeMap::new() });
    }
}
