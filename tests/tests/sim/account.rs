//! What is held against the end of a seed: published = effects + dead letters, each once, in order.
//!
//! - Every event has one effect, or is one dead letter, never both.
//! - The effects of a key are in its order.
//! - A handler saw the effects of all earlier events of its key, but for those that are dead; not where it
//!   asked to run ahead of them.
//! - Nothing is dead but what was tried as often as its row says, and failed each time: trouble burns nothing.

use std::collections::{BTreeMap, BTreeSet};

use keylane::store::{Death, Parked, Reason};

use super::history::{Event, Seen};
use super::mix::{ATTEMPTS_MAX, Mix};

/// What a seed left behind.
pub(super) struct Account {
    pub(super) effects: Vec<String>,
    pub(super) dead: Vec<Parked>,
}

impl Account {
    /// How many events are accounted for.
    pub(super) fn len(&self) -> usize {
        self.effects.len() + self.dead.len()
    }

    /// What is wrong with it.
    pub(super) fn check(
        &self,
        mix: &Mix,
        published: impl Iterator<Item = Event>,
        seen: &Seen,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let effects = self.effects(&mut wrong);
        let dead = self.dead(mix, seen, &mut wrong);
        for event in published {
            match (effects.contains(&event), dead.contains(&event)) {
                (false, false) => wrong.push(format!("{event} has no effect and is not dead")),
                (true, true) => wrong.push(format!("{event} has an effect and is dead")),
                (false, true) if !mix.skip => wrong.push(format!("{event} is dead, and nothing may be")),
                (true, false) if mix.is_poison(event.key, event.number) => {
                    wrong.push(format!("{event} can't be handled, and has an effect"));
                }
                _ => {}
            }
        }
        for (node, event, up_to) in seen.looks.iter().filter(|_| !mix.ahead) {
            let missed = (up_to + 1..event.number).map(|number| Event { key: event.key, number });
            let missed: Vec<String> =
                missed.filter(|missed| !dead.contains(missed)).map(|missed| missed.to_string()).collect();
            if !missed.is_empty() {
                wrong.push(format!("node {node} handled {event} and did not see {}", missed.join(", ")));
            }
        }
        wrong
    }

    /// Each once, each key in its order.
    fn effects(&self, wrong: &mut Vec<String>) -> BTreeSet<Event> {
        let mut effects = BTreeSet::new();
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for effect in &self.effects {
            let event = event(effect);
            if !effects.insert(event) {
                wrong.push(format!("{event} has two effects"));
            }
            let before = last.insert(event.key, event.number).unwrap_or(0);
            if event.number <= before {
                wrong.push(format!("{event} follows k{}/{before}", event.key));
            }
        }
        effects
    }

    /// Each once, each with its reason.
    fn dead(&self, mix: &Mix, seen: &Seen, wrong: &mut Vec<String>) -> BTreeSet<Event> {
        let mut dead = BTreeSet::new();
        for row in &self.dead {
            let payload = String::from_utf8_lossy(&row.record.payload);
            let event = event(&format!("{}/{payload}", String::from_utf8_lossy(&row.key)));
            if !dead.insert(event) {
                wrong.push(format!("{event} is dead twice"));
            }
            let failures = seen.failures.get(&event).copied().unwrap_or(0);
            let (reason, attempts) = (row.reason, row.attempts);
            let fine = match reason {
                Reason::Dead(Death::Exhausted) => attempts == ATTEMPTS_MAX && attempts <= failures,
                Reason::Dead(Death::Rejected) => {
                    mix.is_poison(event.key, event.number) && attempts <= failures
                }
                _ => false,
            };
            if !fine {
                wrong.push(format!("{event} is dead ({reason:?}) after {attempts} tries; {failures} failed"));
            }
        }
        dead
    }
}

fn event(text: &str) -> Event {
    let (key, number) = text.split_once('/').expect("events are written as key/number");
    let key = key.strip_prefix('k').and_then(|key| key.parse().ok());
    Event {
        key: key.expect("keys are k and a number"),
        number: number.parse().expect("events are written as key/number"),
    }
}
