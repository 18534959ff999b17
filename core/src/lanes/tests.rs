//! What lanes do, one story a test.

use std::time::Duration;

use super::{Item, LaneId, Lanes, shard_of};
use crate::env::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Event {
    key: u64,
    number: u32,
}

impl Item for Event {
    fn hash(&self) -> u64 {
        self.key
    }
    fn bytes(&self) -> usize {
        self.number as usize
    }
}

fn event(key: u64, number: u32) -> Event {
    Event { key, number }
}

fn at(seconds: u64) -> Instant {
    Instant::at(Duration::from_secs(seconds))
}

fn lanes_with(events: &[(u64, u32)]) -> Lanes<Event> {
    let mut lanes = Lanes::new(0);
    for &(key, number) in events {
        lanes.push(event(key, number));
    }
    lanes
}

fn take(lanes: &mut Lanes<Event>) -> (LaneId, Event) {
    lanes.next().expect("a lane is ready")
}

#[test]
fn turns_are_taken_so_that_a_hot_key_starves_nobody() {
    let mut lanes = lanes_with(&[(1, 1), (1, 2), (1, 3), (2, 4), (3, 5), (2, 6)]);
    let mut order = Vec::new();
    while let Some((lane, event)) = lanes.next() {
        order.push(event.number);
        lanes.finish(lane);
    }
    assert_eq!(order, [1, 4, 5, 2, 6, 3]);
}

#[test]
fn nothing_of_a_lane_starts_while_its_item_is_out() {
    let mut lanes = lanes_with(&[(1, 1), (1, 2)]);
    let (lane, _) = take(&mut lanes);
    assert_eq!(lanes.push(event(1, 3)).lane, lane, "the same lane, though nothing told them apart");
    assert_eq!(lanes.next(), None);
    assert!(lanes.hold(lane));
    assert_eq!((lanes.next(), lanes.running(), lanes.held()), (None, 0, 1));
    assert!(lanes.finish(lane));
    assert_eq!(take(&mut lanes).1.number, 2);
}

#[test]
fn an_empty_lane_is_gone_and_its_slot_is_used_again() {
    let mut lanes = Lanes::new(0);
    for number in 0..1000 {
        lanes.push(event(u64::from(number), number));
        let (lane, _) = take(&mut lanes);
        assert!(lanes.finish(lane));
    }
    assert_eq!((lanes.lanes(), lanes.len(), lanes.bytes()), (0, 0, 0));
    assert_eq!(lanes.roster.indexes(), 0..1);
}

#[test]
fn counts_tell_what_is_queued_and_what_is_out() {
    let mut lanes = lanes_with(&[(1, 10), (1, 20), (2, 30)]);
    assert_eq!((lanes.len(), lanes.bytes(), lanes.lanes(), lanes.ready()), (3, 60, 2, 2));
    let (lane, event) = take(&mut lanes);
    assert_eq!((lanes.len(), lanes.bytes(), lanes.ready(), lanes.running()), (2, 50, 1, 1));
    lanes.back_off(lane, event, at(5));
    assert_eq!((lanes.len(), lanes.bytes(), lanes.running(), lanes.sleeping()), (3, 60, 0, 1));
    assert_eq!(lanes.push(super::tests::event(1, 40)).depth, 3);
    assert!(!lanes.is_empty());
}

#[test]
fn a_retry_in_the_lane_stays_first_and_lets_the_others_pass() {
    let mut lanes = lanes_with(&[(1, 1), (1, 2), (2, 3)]);
    let (lane, first) = take(&mut lanes);
    lanes.back_off(lane, first, at(5));
    let (other, event) = take(&mut lanes);
    assert_eq!(event.number, 3);
    assert!(lanes.finish(other));
    assert_eq!((lanes.next(), lanes.next_wake()), (None, Some(at(5))));
    assert_eq!(lanes.wake(at(4)), 0);
    assert_eq!(lanes.wake(at(5)), 1);
    assert_eq!((take(&mut lanes).1.number, lanes.next_wake()), (1, None));
}

#[test]
fn lanes_wake_by_time_and_then_by_who_slept_first() {
    let mut lanes = lanes_with(&[(1, 1), (2, 2), (3, 3), (4, 4)]);
    for until in [7, 5, 7, 6] {
        let (lane, event) = take(&mut lanes);
        lanes.back_off(lane, event, at(until));
    }
    assert_eq!(lanes.wake(at(9)), 4);
    let order: Vec<u32> = std::iter::from_fn(|| lanes.next()).map(|(_, event)| event.number).collect();
    assert_eq!(order, [2, 4, 1, 3]);
}

#[test]
fn what_was_not_started_goes_back_to_the_front_and_costs_its_turn() {
    let mut lanes = lanes_with(&[(1, 1), (1, 2), (2, 3)]);
    let (lane, first) = take(&mut lanes);
    lanes.put_back(lane, first);
    assert_eq!(take(&mut lanes).1.number, 3);
    assert_eq!(take(&mut lanes).1.number, 1);
}

#[test]
fn a_held_item_can_be_retried_when_its_commit_failed() {
    let mut lanes = lanes_with(&[(1, 1), (1, 2)]);
    let (lane, first) = take(&mut lanes);
    assert!(lanes.hold(lane));
    lanes.back_off(lane, first, at(1));
    assert_eq!((lanes.held(), lanes.sleeping()), (0, 1));
    lanes.wake(at(1));
    assert_eq!(take(&mut lanes).1.number, 1);
}

#[test]
fn stale_ids_are_harmless_and_lose_nothing() {
    let mut lanes = lanes_with(&[(1, 1)]);
    let (stale, _) = take(&mut lanes);
    assert!(lanes.finish(stale));
    assert!(!lanes.finish(stale));
    let fresh = lanes.push(event(2, 2)).lane;
    assert_ne!(fresh, stale, "the slot is used again, the id is not");
    assert!(!lanes.finish(fresh), "nothing of it is out");
    assert!(!lanes.hold(fresh));
    assert_eq!(take(&mut lanes).0, fresh);
    assert!(!lanes.finish(stale) && !lanes.hold(stale), "it must not end another lane's turn");
    assert!(lanes.hold(fresh) && !lanes.hold(fresh));
    lanes.back_off(stale, event(3, 3), at(1));
    lanes.put_back(stale, event(3, 4));
    assert_eq!((lanes.sleeping(), lanes.ready(), lanes.len()), (0, 1, 2));
    assert_eq!(take(&mut lanes).1.number, 3);
}

#[test]
fn retain_takes_queued_items_and_leaves_running_lanes() {
    let mut lanes = lanes_with(&[(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (3, 6), (4, 7)]);
    let (running, _) = take(&mut lanes);
    let removed = lanes.retain(|event| event.number % 2 == 1);
    let removed: Vec<u32> = removed.iter().map(|event| event.number).collect();
    assert_eq!(removed, [2, 4, 6]);
    assert_eq!((lanes.lanes(), lanes.ready(), lanes.running(), lanes.len()), (3, 2, 1, 3));
    assert_eq!(lanes.bytes(), 3 + 5 + 7);
    assert!(lanes.finish(running));
    let order: Vec<u32> = std::iter::from_fn(|| lanes.next()).map(|(_, event)| event.number).collect();
    assert_eq!(order, [5, 7, 3]);
}

#[test]
fn retain_keeps_a_lane_that_runs_even_when_it_takes_all() {
    let mut lanes = lanes_with(&[(1, 1), (1, 2)]);
    let (running, _) = take(&mut lanes);
    assert_eq!(lanes.retain(|_| false).len(), 1);
    assert_eq!(lanes.push(event(1, 3)).lane, running);
    assert_eq!(lanes.next(), None);
    assert!(lanes.finish(running));
    assert_eq!(take(&mut lanes).1.number, 3);
}

#[test]
fn retain_wakes_a_lane_that_slept_for_a_removed_item() {
    let mut lanes = lanes_with(&[(1, 1), (1, 2), (2, 3), (3, 4), (3, 5)]);
    for _ in 0..3 {
        let (lane, event) = take(&mut lanes);
        lanes.back_off(lane, event, at(5));
    }
    let removed = lanes.retain(|event| ![1, 3, 5].contains(&event.number));
    assert_eq!(removed.len(), 3);
    assert_eq!((lanes.lanes(), lanes.ready(), lanes.sleeping()), (2, 1, 1));
    assert_eq!(take(&mut lanes).1.number, 2);
    assert_eq!(lanes.wake(at(5)), 1);
    assert_eq!(take(&mut lanes).1.number, 4);
}

#[test]
fn keys_of_one_hash_share_a_lane_in_order() {
    let mut lanes = lanes_with(&[(7, 1)]);
    let (lane, _) = take(&mut lanes);
    assert_eq!(lanes.push(event(7, 2)).lane, lane);
    assert_eq!((lanes.lanes(), lanes.next()), (1, None));
}

#[test]
fn every_shard_gets_its_share_of_hashes() {
    for shards in [1, 2, 3, 8, 64] {
        let mut counts = vec![0_u32; shards];
        for number in 0..10_000_u64 {
            counts[shard_of(number.wrapping_mul(0x9E37_79B9_7F4A_7C15), shards)] += 1;
        }
        let fair = 10_000 / u32::try_from(shards).unwrap();
        assert!(counts.iter().all(|&count| count > fair / 2 && count < fair * 2), "{counts:?}");
    }
    assert_eq!(shard_of(u64::MAX, 7), 6);
}
