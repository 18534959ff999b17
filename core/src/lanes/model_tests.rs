//! Lanes against a naive model, and against the promises the model itself could get wrong: order within
//! a key, one at a time per key, a bound on how long a ready lane waits.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::{Item, LaneId, Lanes};
use crate::env::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) key: u8,
    pub(super) number: u32,
}

impl Item for Event {
    fn hash(&self) -> u64 {
        // Few low bits, few high bits: neighbours in the table and equal tags, as a poor hash would give.
        u64::from(self.key) << 32
    }
    fn bytes(&self) -> usize {
        self.number as usize % 7
    }
}

#[derive(Debug, Clone)]
pub(super) enum Op {
    Push(u8),
    Next,
    Finish(usize),
    Hold(usize),
    BackOff(usize, u64),
    PutBack(usize),
    Stale(usize),
    Wake(u64),
    Retain(u32, u32),
    Rewind(u8),
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..6_u8).prop_map(Op::Push),
        8 => Just(Op::Next),
        6 => any::<usize>().prop_map(Op::Finish),
        2 => any::<usize>().prop_map(Op::Hold),
        2 => (any::<usize>(), 0..20_u64).prop_map(|(which, delay)| Op::BackOff(which, delay)),
        1 => any::<usize>().prop_map(Op::PutBack),
        1 => any::<usize>().prop_map(Op::Stale),
        3 => (0..10_u64).prop_map(Op::Wake),
        1 => (2..5_u32, 0..5_u32).prop_map(|(by, rest)| Op::Retain(by, rest)),
        2 => (0..6_u8).prop_map(Op::Rewind),
    ]
}

/// One queue per key, and everything else as plain lists.
#[derive(Default)]
struct Model {
    queues: BTreeMap<u8, VecDeque<Event>>,
    ready: VecDeque<u8>,
    sleeping: Vec<(Instant, u8)>,
    out: BTreeMap<u8, (LaneId, Event)>,
}

impl Model {
    fn push(&mut self, event: Event) {
        let idle = !self.queues.contains_key(&event.key) && !self.out.contains_key(&event.key);
        self.queues.entry(event.key).or_default().push_back(event);
        if idle {
            self.ready.push_back(event.key);
        }
    }

    fn next(&mut self) -> Option<Event> {
        let key = self.ready.pop_front()?;
        let queue = self.queues.get_mut(&key)?;
        let event = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&key);
        }
        event
    }

    fn finish(&mut self, key: u8) {
        if self.queues.contains_key(&key) {
            self.ready.push_back(key);
        }
    }

    fn wake(&mut self, now: Instant) -> usize {
        // Stable: equal times keep the order in which they went to sleep.
        self.sleeping.sort_by_key(|&(until, _)| until);
        let due = self.sleeping.iter().take_while(|&&(until, _)| until <= now).count();
        self.ready.extend(self.sleeping.drain(..due).map(|(_, key)| key));
        due
    }

    fn retain(&mut self, keep: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut removed = Vec::new();
        for (key, queue) in &mut self.queues {
            let front = queue.front().copied();
            removed.extend(queue.iter().copied().filter(|event| !keep(event)));
            queue.retain(|event| keep(event));
            let slept = self.sleeping.iter().any(|(_, sleeper)| sleeper == key);
            if slept && queue.front().copied() != front {
                self.sleeping.retain(|(_, sleeper)| sleeper != key);
                self.ready.push_back(*key);
            }
        }
        self.queues.retain(|_, queue| !queue.is_empty());
        self.ready.retain(|key| self.queues.contains_key(key));
        removed
    }
}

/// Model and lanes side by side, and what was seen of both.
struct Pair {
    lanes: Lanes<Event>,
    model: Model,
    held: Vec<u8>,
    stale: Vec<LaneId>,
    now: Instant,
    numbers: u32,
    /// The last started number of each key.
    started: BTreeMap<u8, u32>,
    /// What is over, by key: the newest of it may have to run again.
    over: BTreeMap<u8, Vec<Event>>,
    /// For each key that had a turn: who was ready then, and has been without a turn ever since.
    waits: BTreeMap<u8, Vec<u8>>,
}

impl Pair {
    fn new() -> Self {
        Self {
            lanes: Lanes::new(0),
            model: Model::default(),
            held: Vec::new(),
            stale: Vec::new(),
            now: Instant::ORIGIN,
            numbers: 0,
            started: BTreeMap::new(),
            over: BTreeMap::new(),
            waits: BTreeMap::new(),
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Push(key) => {
                self.numbers += 1;
                let event = Event { key, number: self.numbers };
                self.model.push(event);
                let pushed = self.lanes.push(event);
                assert_eq!(pushed.depth as usize, self.model.queues[&key].len());
                if let Some((lane, _)) = self.model.out.get(&key) {
                    assert_eq!(pushed.lane, *lane, "one lane per key while its item is out");
                }
            }
            Op::Next => self.next(),
            Op::Finish(which) => self.end(which, |pair, lane, event| {
                assert!(pair.lanes.finish(lane));
                pair.model.finish(event.key);
                pair.over.entry(event.key).or_default().push(event);
                pair.stale.push(lane);
            }),
            Op::Hold(which) => self.hold(which),
            Op::BackOff(which, delay) => self.end(which, |pair, lane, event| {
                let until = pair.now + Duration::from_secs(delay);
                pair.lanes.back_off(lane, event, until);
                pair.model.queues.entry(event.key).or_default().push_front(event);
                pair.model.sleeping.push((until, event.key));
            }),
            Op::PutBack(which) => self.end(which, |pair, lane, event| {
                pair.lanes.put_back(lane, event);
                pair.model.queues.entry(event.key).or_default().push_front(event);
                pair.model.ready.push_back(event.key);
            }),
            Op::Stale(which) => self.stale(which),
            Op::Wake(delay) => {
                self.now = self.now + Duration::from_secs(delay);
                assert_eq!(self.lanes.wake(self.now), self.model.wake(self.now));
            }
            Op::Retain(by, rest) => self.retain(by, rest),
            Op::Rewind(key) => self.rewind(key),
        }
        for waiting in self.waits.values_mut() {
            waiting.retain(|key| self.model.ready.contains(key));
        }
        self.compare();
    }

    fn next(&mut self) {
        let ready: Vec<u8> = self.model.ready.iter().copied().collect();
        let expected = self.model.next();
        let got = self.lanes.next();
        assert_eq!(got.map(|(_, event)| event), expected);
        let Some((lane, event)) = got else { return };
        let last = self.started.insert(event.key, event.number);
        assert!(last.is_none_or(|last| last <= event.number), "order within the key");
        assert!(self.model.out.insert(event.key, (lane, event)).is_none(), "one at a time per key");
        let passed_over = self.waits.remove(&event.key).unwrap_or_default();
        assert!(passed_over.is_empty(), "every other ready lane had its turn: {passed_over:?}");
        self.waits.insert(event.key, ready.into_iter().filter(|key| *key != event.key).collect());
    }

    fn end(&mut self, which: usize, how: impl FnOnce(&mut Self, LaneId, Event)) {
        let Some(key) = self.pick(which) else { return };
        let (lane, event) = self.model.out.remove(&key).unwrap();
        self.held.retain(|held| *held != key);
        how(self, lane, event);
    }

    fn hold(&mut self, which: usize) {
        let Some(key) = self.pick(which) else { return };
        let first = !self.held.contains(&key);
        assert_eq!(self.lanes.hold(self.model.out[&key].0), first);
        if first {
            self.held.push(key);
        }
    }

    /// Every id that was ever finished, unless its lane lives on with an item out.
    fn stale(&mut self, which: usize) {
        let live: Vec<LaneId> = self.model.out.values().map(|(lane, _)| *lane).collect();
        let stale: Vec<LaneId> = self.stale.iter().copied().filter(|lane| !live.contains(lane)).collect();
        if stale.is_empty() {
            return;
        }
        let lane = stale[which % stale.len()];
        assert!(!self.lanes.finish(lane) && !self.lanes.hold(lane));
        self.numbers += 1;
        let event = Event { key: 0, number: self.numbers };
        self.lanes.back_off(lane, event, self.now);
        self.model.push(event);
    }

    /// The newest two that are over come back to the front, unless one of their key is out.
    fn rewind(&mut self, key: u8) {
        let over = self.over.entry(key).or_default();
        let again = over.split_off(over.len().saturating_sub(2));
        if self.model.out.contains_key(&key) && !again.is_empty() {
            assert_eq!(self.lanes.rewind(again.clone()), Err(again.clone()));
            self.over.entry(key).or_default().extend(again);
            return;
        }
        assert_eq!(self.lanes.rewind(again.clone()), Ok(()));
        let Some(first) = again.first() else { return };
        self.started.insert(key, first.number);
        let slept = self.model.sleeping.iter().any(|(_, sleeper)| *sleeper == key);
        self.model.sleeping.retain(|(_, sleeper)| *sleeper != key);
        if slept || !self.model.queues.contains_key(&key) {
            self.model.ready.push_back(key);
        }
        for event in again.into_iter().rev() {
            self.model.queues.entry(key).or_default().push_front(event);
        }
    }

    fn retain(&mut self, by: u32, rest: u32) {
        let keep = |event: &Event| event.number % by != rest;
        let ready_before = self.model.ready.clone();
        let mut expected = self.model.retain(keep);
        let kept_ready = ready_before.iter().filter(|key| self.model.queues.contains_key(key)).count();
        let mut removed = self.lanes.retain(keep);
        let order = |event: &Event| (event.key, event.number);
        let of_key = |events: &[Event], key| -> Vec<u32> {
            events.iter().filter(|event| event.key == key).map(|event| event.number).collect()
        };
        for key in 0..6 {
            assert_eq!(of_key(&removed, key), of_key(&expected, key), "in order within the key");
        }
        removed.sort_by_key(order);
        expected.sort_by_key(order);
        assert_eq!(removed, expected);
        // Lanes that were ready keep their turns. Which of the sleeping ones is woken first depends on which
        // is walked first, and that is not promised.
        let ready: Vec<u8> = self.lanes.ready.iter().map(|&index| self.key_of(index)).collect();
        let expected = self.model.ready.make_contiguous();
        assert_eq!(ready[..kept_ready], expected[..kept_ready]);
        let (mut woken, mut expected_woken) = (ready[kept_ready..].to_vec(), expected[kept_ready..].to_vec());
        woken.sort_unstable();
        expected_woken.sort_unstable();
        assert_eq!(woken, expected_woken);
        self.model.ready = ready.into();
    }

    fn key_of(&self, index: u32) -> u8 {
        u8::try_from(self.lanes.roster.hash_of(index) >> 32).unwrap()
    }

    fn pick(&self, which: usize) -> Option<u8> {
        let count = self.model.out.len();
        (count > 0).then(|| *self.model.out.keys().nth(which % count).unwrap())
    }

    fn compare(&self) {
        let queued = self.model.queues.values().flatten();
        for key in 0..6 {
            let last = self.model.queues.get(&key).and_then(|queue| queue.back());
            assert_eq!(self.lanes.last(u64::from(key) << 32), last);
        }
        assert_eq!(self.lanes.len(), queued.clone().count());
        assert_eq!(self.lanes.bytes(), queued.map(Item::bytes).sum::<usize>());
        assert_eq!(self.lanes.ready(), self.model.ready.len());
        assert_eq!(self.lanes.sleeping(), self.model.sleeping.len());
        assert_eq!(self.lanes.held(), self.held.len());
        assert_eq!(self.lanes.running() + self.lanes.held(), self.model.out.len());
        let live = self.lanes.ready() + self.lanes.sleeping() + self.model.out.len();
        assert_eq!(self.lanes.lanes(), live, "a lane is ready, out, asleep or gone");
        assert_eq!(self.lanes.next_wake(), self.model.sleeping.iter().map(|(until, _)| *until).min());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn lanes_do_what_a_queue_per_key_would(ops in prop::collection::vec(op(), 0..300)) {
        let mut pair = Pair::new();
        for op in ops {
            pair.apply(op);
        }
    }

    #[test]
    fn all_that_is_pushed_comes_out_once_in_the_order_of_its_key(
        keys in prop::collection::vec(0..20_u8, 0..400),
        width in 1..8_usize,
    ) {
        let mut lanes = Lanes::new(0);
        for (number, &key) in (0..).zip(&keys) {
            lanes.push(Event { key, number });
        }
        let mut out = VecDeque::new();
        let mut seen: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
        loop {
            while out.len() < width && let Some((lane, event)) = lanes.next() {
                seen.entry(event.key).or_default().push(event.number);
                out.push_back(lane);
            }
            let Some(lane) = out.pop_front() else { break };
            prop_assert!(lanes.finish(lane));
        }
        prop_assert_eq!((lanes.lanes(), lanes.len(), lanes.bytes()), (0, 0, 0));
        prop_assert_eq!(seen.values().map(Vec::len).sum::<usize>(), keys.len());
        prop_assert!(seen.values().all(|numbers| numbers.is_sorted()));
    }
}
