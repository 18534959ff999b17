//! How long events waited because of a fault.
//!
//! Of a fault, the time that counts begins when it was injected, where others can take over (a worker is killed,
//! stopped, drained or cut off), or when it was over, where nobody can do anything before (a server is away, a
//! link is slow). An event is affected that was published before the next fault and had no effect at that time.
//! It waited from then, or from its own publication if that was later, until its effect. The recovery time of
//! the fault is the longest of these waits.

use std::collections::{BTreeMap, HashMap};

use super::History;
use crate::clock::Nanos;
use crate::plan::Kind;

/// Recovery times of a kind of fault, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// One for each fault, sorted.
    pub times: Vec<Nanos>,
}

impl Recovery {
    /// The time that so many in a hundred don't exceed.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Nanos {
        let at = (self.times.len() * percent).div_ceil(100).saturating_sub(1);
        self.times.get(at).copied().unwrap_or_default()
    }
}

pub(super) fn of(history: &History) -> BTreeMap<Kind, Recovery> {
    // The first effect counts.
    let mut done: HashMap<&str, Nanos> = HashMap::new();
    for effect in &history.effects {
        done.entry(&effect.id).or_insert(effect.at);
    }
    let mut events: Vec<(Nanos, Nanos)> = Vec::with_capacity(history.published.len());
    for published in &history.published {
        let done = done.get(published.event.id().as_str()).copied();
        events.push((published.at, done.unwrap_or(Nanos::MAX)));
    }
    let mut recovery: BTreeMap<Kind, Recovery> = BTreeMap::new();
    for (nth, fault) in history.faults.iter().enumerate() {
        let from = if fault.kind.counts_from_its_end() { fault.until } else { fault.from };
        let next = history.faults.get(nth + 1).map_or(from + history.gap, |next| next.from);
        let waited = |&(published, done): &(Nanos, Nanos)| {
            (published < next && done > from && done != Nanos::MAX)
                .then(|| done.saturating_sub(published.max(from)))
        };
        let longest = events.iter().filter_map(waited).max().unwrap_or_default();
        recovery.entry(fault.kind).or_default().times.push(longest);
    }
    for of_kind in recovery.values_mut() {
        of_kind.times.sort_unstable();
    }
    recovery
}
