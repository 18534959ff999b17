//! What is held against the end of a seed: published = effects + dead letters.
//!
//! - Every event has one effect, or is one dead letter, never both; without a ledger, at least one of either.
//! - Of two payloads under one id, one is handled and the other is a dead letter that says so (rule L4).
//! - The effects of a key are in its order, where the broker has one.
//! - A handler saw the effects of all earlier events of its key, but for those that are dead; not where it
//!   asked to run ahead of them.
//! - Nothing is dead but what was tried as often as its row says, and failed each time: trouble burns nothing.
//!   What kills its worker is dead of that, and nobody else is; it is so after as many deaths as it may, and those
//!   before that nobody could foresee (rule T1).

use std::collections::{BTreeMap, BTreeSet};

use keylane::store::{Death, Parked, Reason};

use crate::event::Event;
use crate::history::Seen;
use crate::mix::{ATTEMPTS_MAX, CRASHES_MAX, Mix};

/// Nothing was marked before the first time, of each of the two copies that a producer may have published.
const KILLS_MAX: u32 = CRASHES_MAX + 2;

/// What a seed left behind.
pub(crate) struct Account {
    pub(crate) effects: Vec<Event>,
    pub(crate) dead: Vec<Parked>,
}

impl Account {
    /// The events of which nothing is there yet.
    pub(crate) fn missing(&self, published: &[Event]) -> Vec<Event> {
        let dead = self.dead.iter().filter_map(|row| Event::of_record(&row.record));
        let there: BTreeSet<Event> = self.effects.iter().copied().chain(dead).collect();
        published.iter().filter(|event| !there.contains(event)).copied().collect()
    }

    /// What is wrong with it.
    pub(crate) fn check(&self, mix: &Mix, published: &[Event], seen: &Seen) -> Vec<String> {
        let mut wrong = Vec::new();
        let effects = self.effects(mix, seen, &mut wrong);
        let dead = self.dead(mix, seen, &mut wrong);
        for event in published {
            let (done, reason) = (effects.contains(event), dead.get(event).copied());
            match (done, reason) {
                (false, None) => wrong.push(format!("{event} has no effect and is not dead")),
                (true, Some(reason)) if mix.is_once() => {
                    wrong.push(format!("{event} has an effect and is dead ({reason:?})"));
                }
                (true, None) if mix.is_poison(*event) && !seen.released.contains(event) => {
                    wrong.push(format!("{event} can't be handled, and has an effect"));
                }
                (true, None) if mix.is_fatal(*event) => {
                    wrong.push(format!("{event} kills who handles it, and has an effect"));
                }
                (false, Some(reason)) if !mix.skip && reason != Reason::Dead(Death::Conflict) => {
                    wrong.push(format!("{event} is dead ({reason:?}), and nothing may be"));
                }
                _ => {}
            }
            if event.other {
                let right = Event::new(event.key, event.number);
                let conflicts = [*event, right];
                let conflicts = conflicts.iter().filter_map(|event| dead.get(event));
                let conflicts = conflicts.filter(|reason| **reason == Reason::Dead(Death::Conflict)).count();
                if conflicts != 1 {
                    wrong.push(format!("of {right} and {event}, {conflicts} are dead as a conflict"));
                }
            }
        }
        // With narrow budgets more events of its key than are marked may come before it does again.
        let wide = !mix.narrow && !mix.hot;
        for (event, kills) in seen.kills.iter().filter(|(_, kills)| wide && **kills > KILLS_MAX) {
            wrong.push(format!("{event} killed {kills} workers, and may kill {KILLS_MAX}"));
        }
        self.looks(mix, &dead, seen, &mut wrong);
        wrong
    }

    fn looks(&self, mix: &Mix, dead: &BTreeMap<Event, Reason>, seen: &Seen, wrong: &mut Vec<String>) {
        if mix.ahead || !mix.is_ordered() {
            return;
        }
        for (node, event, up_to) in seen.looks.iter().filter(|(_, event, _)| !seen.released.contains(event)) {
            let excused = |number: u64| {
                let ids = [false, true].map(|other| Event { other, ..Event::new(event.key, number) });
                ids.iter().any(|event| {
                    // Nobody waits for the dead, though its letter may never be written, and another worker handle it.
                    let is_spent =
                        mix.skip && seen.failures.get(&event.id()).is_some_and(|n| *n >= ATTEMPTS_MAX);
                    seen.released.contains(event)
                        || is_spent
                        || dead.get(event).is_some_and(|reason| *reason != Reason::Dead(Death::Conflict))
                })
            };
            let missed: Vec<String> = (up_to + 1..event.number)
                .filter(|number| !excused(*number))
                .map(|number| Event::new(event.key, number).to_string())
                .collect();
            if !missed.is_empty() {
                wrong.push(format!("node {node} handled {event} and did not see {}", missed.join(", ")));
            }
        }
    }

    /// Each once, each key in its order.
    fn effects(&self, mix: &Mix, seen: &Seen, wrong: &mut Vec<String>) -> BTreeSet<Event> {
        let mut effects = BTreeSet::new();
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for event in &self.effects {
            if !effects.insert(*event) && mix.is_once() {
                wrong.push(format!("{event} has two effects"));
            }
            if seen.released.contains(event) || !mix.is_ordered() {
                continue;
            }
            let before = last.insert(event.key, event.number).unwrap_or(0);
            if event.number <= before {
                wrong.push(format!("{event} follows k{}/{before}", event.key));
            }
        }
        effects
    }

    /// Each once, each with its reason.
    fn dead(&self, mix: &Mix, seen: &Seen, wrong: &mut Vec<String>) -> BTreeMap<Event, Reason> {
        let mut dead = BTreeMap::new();
        for row in &self.dead {
            let Some(event) = Event::of_record(&row.record) else {
                wrong.push(format!("{} is dead and was never published", row.id.as_str()));
                continue;
            };
            if dead.insert(event, row.reason).is_some() && mix.is_once() {
                wrong.push(format!("{event} is dead twice"));
            }
            let failures = seen.failures.get(&event.id()).copied().unwrap_or(0);
            // By id, as tries are counted: of two payloads under one id the other may have killed.
            let kills = seen.kills.get(&event.id()).copied().unwrap_or(0);
            let (reason, attempts) = (row.reason, row.attempts);
            let fine = match reason {
                // More, where the last verdict was excluded, or a release was tried.
                Reason::Dead(Death::Exhausted) => attempts <= failures && attempts >= ATTEMPTS_MAX,
                Reason::Dead(Death::Rejected) => mix.is_poison(event) && attempts <= failures,
                Reason::Dead(Death::Conflict) => mix.is_conflicted(event),
                Reason::Dead(Death::Crashes) => mix.is_fatal(event.id()) && kills >= CRASHES_MAX,
                _ => false,
            };
            if !fine {
                wrong.push(format!("{event} is dead ({reason:?}) after {attempts} tries; {failures} failed"));
            }
        }
        dead
    }
}
