//! What is published, and how handlers behave: all of it from the seed.

use std::collections::HashMap;
use std::time::Duration;

use keylane_tests::sim::Chance;
use serde::{Deserialize, Serialize};

/// An event: the only payload there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    /// Its ordering key.
    pub key: String,
    /// Its number within the key, counted from 1.
    pub number: u64,
}

impl Numbered {
    /// Its id, from which key and number can be told.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}.{}", self.key, self.number)
    }

    /// The event of an id.
    #[must_use]
    pub fn of(id: &str) -> Option<Self> {
        let (key, number) = id.rsplit_once('.')?;
        Some(Self { key: key.to_owned(), number: number.parse().ok()? })
    }
}

/// Keys that get more than their share: so many,
const HOT: u64 = 4;
/// and together so many events in a hundred.
const HOT_SHARE: u64 = 20;

/// The events in the order in which they are published.
#[derive(Debug)]
pub struct Workload {
    chance: Chance,
    keys: u64,
    numbers: HashMap<String, u64>,
    left: u64,
}

impl Workload {
    /// So many events of this seed, over a key for every fifty of them: 32 to 2,000 keys, and the hot ones.
    #[must_use]
    pub fn new(seed: u64, events: u64) -> Self {
        let chance = Chance::of(seed, "workload", 0);
        Self { chance, keys: (events / 50).clamp(32, 2_000), numbers: HashMap::new(), left: events }
    }
}

impl Iterator for Workload {
    type Item = Numbered;

    fn next(&mut self) -> Option<Numbered> {
        self.left = self.left.checked_sub(1)?;
        let key = if self.chance.below(100) < HOT_SHARE {
            format!("hot{}", self.chance.below(HOT))
        } else {
            format!("k{}", self.chance.below(self.keys))
        };
        let number = self.numbers.entry(key.clone()).or_default();
        *number += 1;
        Some(Numbered { key, number: *number })
    }
}

/// What a handler does with one attempt at an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conduct {
    /// How long it waits.
    pub takes: Duration,
    /// Whether it then fails, to be tried again.
    pub fails: bool,
}

/// Slow handlers, in a thousand,
const SLOW: u64 = 20;
/// and those whose attempt fails. How many take a second and more is said with the run.
const FAILING: u64 = 20;

/// Of a thousand attempts, those that take a second and more, unless a story wants them otherwise.
pub const LONG: u64 = 2;

/// The conduct at an attempt, when so many in a thousand take long.
#[must_use]
pub fn conduct(seed: u64, long: u64, id: &str, attempt: u32) -> Conduct {
    let mut chance = Chance::of(seed, id, attempt);
    let takes = match chance.below(1_000) {
        n if n < long => Duration::from_millis(1_000 + chance.below(500)),
        n if n < long + SLOW => Duration::from_millis(20 + chance.below(180)),
        _ => Duration::ZERO,
    };
    // The third attempt succeeds at the latest: nothing here becomes a dead letter.
    Conduct { takes, fails: attempt < 3 && chance.below(1_000) < FAILING }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_within_their_key_and_ids_tell_both() {
        let mut last: HashMap<String, u64> = HashMap::new();
        let events: Vec<Numbered> = Workload::new(7, 5_000).collect();
        for event in &events {
            let last = last.entry(event.key.clone()).or_default();
            *last += 1;
            assert_eq!(event.number, *last);
            assert_eq!(Numbered::of(&event.id()).as_ref(), Some(event));
        }
        assert_eq!(events.len(), 5_000);
        let hot = events.iter().filter(|event| event.key.starts_with("hot")).count();
        assert!((800..1_200).contains(&hot) && last.len() > 90, "{hot} hot, {} keys", last.len());
        assert_eq!(Workload::new(7, 5_000).collect::<Vec<_>>(), events, "the same seed, the same events");
    }

    #[test]
    fn some_attempts_are_slow_some_fail_and_the_third_never_does() {
        let all = |attempt| (0..10_000).map(move |n| conduct(1, LONG, &format!("k.{n}"), attempt));
        assert!(all(1).filter(|conduct| conduct.fails).count() > 100);
        assert!(all(1).filter(|conduct| !conduct.takes.is_zero()).count() > 100);
        assert_eq!(all(3).filter(|conduct| conduct.fails).count(), 0);
    }
}
