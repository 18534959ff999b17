//! The account: what became of every record that was published. Pure: facts in, account out; no counter
//! of any process takes part.
//!
//! Facts come from different hands: how much there is from the broker, which record bears which id from
//! the journal, what was done from the table that handlers write in the transaction of their event, what
//! died from the runtime's parking table. So an event that was lost, done twice or done by halves makes
//! the sum go wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A partition and a position in it.
pub(crate) type Place = (u32, u64);

/// What lies in the database, and at the broker.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Lowest and next position by partition.
    pub(crate) ends: BTreeMap<u32, (u64, u64)>,
    /// Every record by its place: its id.
    pub(crate) journal: BTreeMap<Place, String>,
    /// What handlers did, in the order in which it became durable.
    pub(crate) effects: Vec<Effect>,
    /// What can't be handled.
    pub(crate) dead: Vec<Dead>,
    /// Orders whose view is not what their effects make of it.
    pub(crate) views_off: u64,
}

/// What a handler did, once durable.
#[derive(Debug, Clone)]
pub(crate) struct Effect {
    pub(crate) event: String,
    pub(crate) order: String,
    pub(crate) version: u32,
    pub(crate) place: Place,
}

/// A dead letter.
#[derive(Debug, Clone)]
pub(crate) struct Dead {
    pub(crate) event: String,
    pub(crate) kind: String,
    pub(crate) place: Place,
    pub(crate) reason: &'static str,
    pub(crate) failure: String,
}

/// What became of everything.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Records at the broker.
    pub(crate) published: u64,
    /// Records whose event was handled, here and now.
    pub(crate) handled: u64,
    /// Records whose event was handled, or died, by way of another record.
    pub(crate) duplicates: u64,
    /// Records in the parking table.
    pub(crate) dead: u64,
    /// Records with no fate at all, and fates without a record.
    pub(crate) unaccounted: u64,
    /// Effects that stand after one of a later version of their order.
    pub(crate) order_violations: u64,
    /// Effects of an event that had one already, or is a dead letter as well.
    pub(crate) applied_twice: u64,
    /// Orders whose view is not what their effects make of it.
    pub(crate) views_off: u64,
}

impl Account {
    pub(crate) fn of(facts: &Facts) -> Self {
        let places: HashSet<Place> = facts.effects.iter().map(|effect| effect.place).collect();
        let ids: HashSet<&str> = facts.effects.iter().map(|effect| effect.event.as_str()).collect();
        let dead_places: BTreeSet<Place> = facts.dead.iter().map(|dead| dead.place).collect();
        let dead_ids: HashSet<&str> = facts.dead.iter().map(|dead| dead.event.as_str()).collect();
        let mut account = Self {
            published: facts.ends.values().map(|(low, high)| high.saturating_sub(*low)).sum(),
            order_violations: order_violations(&facts.effects),
            applied_twice: (facts.effects.len() - ids.len()) as u64
                + dead_places.iter().filter(|place| places.contains(place)).count() as u64,
            views_off: facts.views_off,
            ..Self::default()
        };
        for (place, id) in &facts.journal {
            if dead_places.contains(place) {
                account.dead += 1;
            } else if places.contains(place) {
                account.handled += 1;
            } else if ids.contains(id.as_str()) || dead_ids.contains(id.as_str()) {
                account.duplicates += 1;
            } else {
                account.unaccounted += 1;
            }
        }
        let read = facts.journal.keys().filter(|place| lies_within(&facts.ends, place)).count() as u64;
        account.unaccounted += account.published.abs_diff(read);
        let fates: BTreeSet<&Place> = places.iter().chain(&dead_places).collect();
        account.unaccounted += fates.iter().filter(|place| !facts.journal.contains_key(place)).count() as u64;
        account
    }

    /// True when every record has exactly one fate.
    pub(crate) fn adds_up(&self) -> bool {
        self.published == self.handled + self.duplicates + self.dead
            && self.unaccounted == 0
            && self.order_violations == 0
            && self.applied_twice == 0
            && self.views_off == 0
    }
}

fn lies_within(ends: &BTreeMap<u32, (u64, u64)>, (partition, position): &Place) -> bool {
    ends.get(partition).is_some_and(|(low, high)| (low..high).contains(&position))
}

/// Within an order versions only grow. One that is repeated is not out of order; it is applied twice.
fn order_violations(effects: &[Effect]) -> u64 {
    let mut last: HashMap<&str, u32> = HashMap::new();
    let mut violations = 0;
    for effect in effects {
        let last = last.entry(&effect.order).or_default();
        violations += u64::from(effect.version < *last);
        *last = effect.version.max(*last);
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Order `a` in partition 0: created, paid, paid again by a nervous producer, and a torn one.
    fn fine() -> Facts {
        let effect = |version: u32, position| Effect {
            event: format!("a.{version}"),
            order: "a".into(),
            version,
            place: (0, position),
        };
        let ids = ["a.1", "a.2", "a.2", "a.3"];
        Facts {
            ends: BTreeMap::from([(0, (0, 4)), (1, (0, 0))]),
            journal: (0..).zip(ids).map(|(position, id)| ((0, position), id.to_owned())).collect(),
            effects: vec![effect(1, 0), effect(2, 1)],
            dead: vec![Dead {
                event: "a.3".into(),
                kind: "order.shipped".into(),
                place: (0, 3),
                reason: "undecodable",
                failure: "half a payload".into(),
            }],
            views_off: 0,
        }
    }

    #[test]
    fn what_has_one_fate_each_adds_up() {
        let account = Account::of(&fine());
        let expected = Account { published: 4, handled: 2, duplicates: 1, dead: 1, ..Account::default() };
        assert_eq!(account, expected);
        assert!(account.adds_up());
    }

    #[test]
    fn nothing_else_does() {
        type Spoil = fn(&mut Facts);
        let cases: [(&str, Spoil); 9] = [
            ("lost", |facts| drop(facts.effects.remove(0))),
            ("applied twice", |facts| facts.effects.push(facts.effects[1].clone())),
            ("a duplicate applied", |facts| {
                let again = Effect { place: (0, 2), ..facts.effects[1].clone() };
                facts.effects.push(again);
            }),
            ("out of order", |facts| facts.effects.reverse()),
            ("dead and done", |facts| {
                let done =
                    Effect { event: "a.3".into(), version: 3, place: (0, 3), ..facts.effects[1].clone() };
                facts.effects.push(done);
            }),
            ("from nowhere", |facts| {
                let done =
                    Effect { event: "a.9".into(), version: 9, place: (0, 9), ..facts.effects[1].clone() };
                facts.effects.push(done);
            }),
            ("not read", |facts| facts.ends.extend([(1, (0, 1))])),
            ("not dead any more", |facts| facts.dead.clear()),
            ("a view off", |facts| facts.views_off = 1),
        ];
        for (what, spoil) in cases {
            let mut facts = fine();
            spoil(&mut facts);
            assert!(!Account::of(&facts).adds_up(), "{what}: {:?}", Account::of(&facts));
        }
    }
}
