//! What is published: the events of a few thousand orders, as a pure function of a seed.
//!
//! Orders overlap in time, and they are not alike: most have one parcel and so three events, a few have
//! hundreds. Some events are sent twice, as producers do that did not hear an answer; a few can never be
//! handled. Each event has one id, however often it is sent.

mod story;

use bytes::Bytes;
use keylane::broker::Outgoing;
use keylane::event::Record;

use crate::chance::Chance;
use story::{Story, Trouble};

/// One record to publish.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Planned {
    pub(crate) id: String,
    pub(crate) order: String,
    pub(crate) kind: &'static str,
    pub(crate) payload: Bytes,
}

impl Planned {
    /// The record as a CloudEvent, its key the order: so all events of an order are read in order.
    pub(crate) fn to(&self, target: &str) -> Outgoing {
        let record = Record::new(self.payload.clone())
            .with_key(self.order.clone())
            .with_header("ce_specversion", "1.0")
            .with_header("ce_id", self.id.clone())
            .with_header("ce_type", self.kind)
            .with_header("ce_source", "/shop/orders")
            .with_header("content-type", "application/json");
        Outgoing { target: target.to_owned(), record }
    }
}

/// So many events in a hundred are sent twice.
const TWICE_PERCENT: u64 = 3;

/// The workload of a seed, in the order in which it is published.
pub(crate) fn plan(seed: u64, orders: u32) -> Vec<Planned> {
    let mut chance = Chance::new(seed);
    let mut sent: Vec<(u64, Planned)> = Vec::new();
    for story in stories(seed, orders, &mut chance) {
        for (at, event) in story.tell(&mut chance) {
            let again = story.trouble == Trouble::Rewritten && event.kind == crate::events::PAID;
            if again {
                sent.push((at + 1 + chance.below(LATER), story::rewritten(&event)));
            } else if chance.percent(TWICE_PERCENT) {
                sent.push((at + 1 + chance.below(LATER), event.clone()));
            }
            sent.push((at, event));
        }
    }
    // Stable: what has the same time stays in its order.
    sent.sort_by_key(|(at, _)| *at);
    sent.into_iter().map(|(_, event)| event).collect()
}

/// The whole of the workload's time; it has no unit.
const TIME: u64 = 1_000_000;
/// The longest time after which something is sent again.
const LATER: u64 = TIME / 30;
/// The greatest order has so many parcels, the second greatest half of it, the third a third.
const PARCELS_MAX: u64 = 240;

fn stories(seed: u64, orders: u32, chance: &mut Chance) -> Vec<Story> {
    let mut ranks: Vec<u64> = (1..=u64::from(orders)).collect();
    chance.shuffle(&mut ranks);
    let mut troubles: Vec<Trouble> = Trouble::SOME.to_vec();
    troubles.resize(orders as usize, Trouble::None);
    chance.shuffle(&mut troubles);
    let numbered = ranks.into_iter().zip(troubles).zip(1u32..);
    let story = |((rank, trouble), number): ((u64, Trouble), u32)| {
        let parcels = (PARCELS_MAX / rank).max(1);
        let begins = chance.below(TIME * 3 / 4);
        Story {
            order: format!("{seed}-{number:05}"),
            // Few customers order much, too.
            customer: format!("c-{:04}", chance.below(rank.min(900)) + 1),
            parcels: parcels as u32,
            cents: 990 + 100 * chance.below(200) as i64,
            begins,
            lasts: (TIME / 40 + parcels * TIME / 400).min(TIME - begins),
            trouble,
        }
    };
    numbered.map(story).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn a_seed_is_a_workload() {
        assert_eq!(plan(7, 300), plan(7, 300));
        assert_ne!(plan(7, 300), plan(8, 300));
    }

    #[test]
    fn first_occurrences_stand_in_their_order() {
        let mut last: BTreeMap<String, u32> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for event in plan(3, 500).into_iter().filter(|event| seen.insert(event.id.clone())) {
            let version: u32 = event.id.rsplit('.').next().unwrap().parse().unwrap();
            let before = last.insert(event.order, version).unwrap_or(0);
            assert_eq!(version, before + 1, "{}", event.id);
        }
    }

    #[test]
    fn keys_are_skewed_and_some_events_are_sent_twice() {
        let plan = plan(1, 3000);
        let ids: BTreeSet<_> = plan.iter().map(|event| &event.id).collect();
        let again = plan.len() - ids.len();
        assert!((plan.len() / 50..plan.len() / 25).contains(&again), "{again} of {}", plan.len());
        let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
        for event in &plan {
            *sizes.entry(&event.order).or_default() += 1;
        }
        let greatest = sizes.values().max().copied();
        assert!(greatest > Some(200), "{greatest:?}");
        assert!(sizes.values().filter(|size| **size <= 4).count() > 2000);
    }

    #[test]
    fn every_trouble_is_there_and_few() {
        let plan = plan(1, 3000);
        let text = |event: &Planned| String::from_utf8_lossy(&event.payload).into_owned();
        let having = |what: &str| plan.iter().filter(|event| text(event).contains(what)).count();
        for what in ["stolen", "silent", "\"slow\":true"] {
            assert!((1..10).contains(&having(what)), "{what}: {}", having(what));
        }
        let unread = |event: &&Planned| serde_json::from_str::<serde_json::Value>(&text(event)).is_err();
        assert!((1..10).contains(&plan.iter().filter(unread).count()));
    }
}
