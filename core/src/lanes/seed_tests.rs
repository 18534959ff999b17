//! Equal calls give equal answers, whatever the hash seeds are: a simulation depends on it.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::model_tests::{Event, Op, op};
use super::{Item, LaneId, Lanes};
use crate::env::Instant;

/// An item whose hash depends on a seed, as in a real runtime.
#[derive(Debug, PartialEq)]
struct Seeded {
    event: Event,
    hash: u64,
}

impl Item for Seeded {
    fn hash(&self) -> u64 {
        self.hash
    }
    fn bytes(&self) -> usize {
        1
    }
}

/// Everything that lanes answer to these calls.
fn answers(ops: &[Op], seed: u64) -> Vec<(Option<LaneId>, Option<Event>)> {
    let mut lanes = Lanes::new(0);
    let mut out = VecDeque::new();
    let mut answers = Vec::new();
    for (number, op) in (0..).zip(ops) {
        match *op {
            Op::Push(key) => {
                // An odd factor keeps the hashes of different keys apart, whatever the seed is.
                let hash = (u64::from(key) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seed;
                let pushed = lanes.push(Seeded { event: Event { key, number }, hash });
                answers.push((Some(pushed.lane), None));
            }
            Op::Next => {
                let Some((lane, item)) = lanes.next() else { continue };
                answers.push((Some(lane), Some(item.event)));
                out.push_back((lane, item));
            }
            Op::BackOff(_, delay) => {
                let Some((lane, item)) = out.pop_front() else { continue };
                lanes.back_off(lane, item, Instant::at(Duration::from_secs(delay)));
            }
            Op::Wake(now) => {
                lanes.wake(Instant::at(Duration::from_secs(now)));
            }
            Op::Retain(by, rest) => {
                let removed = lanes.retain(|item| item.event.number % by != rest);
                answers.extend(removed.into_iter().map(|item| (None, Some(item.event))));
            }
            _ => {
                let Some((lane, _)) = out.pop_front() else { continue };
                lanes.finish(lane);
            }
        }
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn equal_calls_give_equal_answers_whatever_the_hash_seed(
        ops in prop::collection::vec(op(), 0..200),
        seeds in any::<[u64; 2]>(),
    ) {
        prop_assert_eq!(answers(&ops, seeds[0]), answers(&ops, seeds[1]));
    }
}
