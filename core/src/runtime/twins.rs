//! Rule A3: the same id twice among what is in flight here. One runs, the other waits for its result.
//!
//! The same *event* twice is another matter: its partition was lost and claimed again, and the run of before
//! is not over. That one goes on to its lane, where it waits behind the other anyway; waiting here, it would
//! be passed by its key's later events.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Item;
use super::budget::Budget;
use super::subscription::Subscription;
use crate::env::{Env, Map};
use crate::text::Text;

pub(crate) struct Twins(Mutex<Map<Text, Flying>>);

/// What is in flight under one id.
struct Flying {
    /// Where the event lies.
    partition: u32,
    offset: u64,
    /// How often it is in flight, each time under another epoch.
    times: usize,
    /// Others of its id.
    waiting: Vec<Item>,
}

impl Twins {
    pub(crate) fn new(env: &Env) -> Self {
        Self(Mutex::new(env.map()))
    }

    /// The items that may run; one whose id is in flight waits behind it and is given back by `ended`.
    pub(crate) fn first_only(&self, budget: &Budget, items: Vec<Item>) -> Vec<Item> {
        let mut flying = self.lock();
        let mut first = Vec::with_capacity(items.len());
        for mut item in items {
            if item.flying {
                // Its key ended before it ran; it was never over.
                first.push(item);
                continue;
            }
            let (partition, offset) = (item.envelope.meta.place.partition, item.offset());
            match flying.get_mut(&item.id()) {
                Some(other)
                    if (other.partition, other.offset) == (partition, offset)
                        || mutant!("a3-twins-both-run") =>
                {
                    other.times += 1;
                    item.flying = true;
                    first.push(item);
                }
                Some(other) => {
                    // While its twin backs off it must not use up what the others run on.
                    budget.set_aside(1, item.bytes as usize);
                    other.waiting.push(item);
                }
                None => {
                    let waiting = Vec::new();
                    flying.insert(item.id(), Flying { partition, offset, times: 1, waiting });
                    item.flying = true;
                    first.push(item);
                }
            }
        }
        first
    }

    /// The running one is over. Who waited is admitted anew (rule A2), for only the store knows what
    /// became of the id.
    pub(crate) fn ended(&self, sub: &Arc<Subscription>, item: &Item) {
        if !item.flying {
            // It only waited.
            return;
        }
        let mut flying = self.lock();
        let Some(ended) = flying.get_mut(&item.id()) else { return };
        ended.times -= 1;
        if ended.times > 0 {
            return;
        }
        let waiting = flying.remove(&item.id()).map(|ended| ended.waiting).unwrap_or_default();
        drop(flying);
        for item in &waiting {
            sub.budget.take_up(1, item.bytes as usize);
        }
        if !waiting.is_empty() {
            sub.control.send(super::subscription::Control::Again(waiting));
        }
    }

    /// Those that wait and belong to the next owner of their partition, in flight again.
    pub(crate) fn left_behind(&self, budget: &Budget) -> Vec<Item> {
        let mut gone = Vec::new();
        for flying in self.lock().values_mut() {
            gone.extend(flying.waiting.extract_if(.., |item| !item.tenure.may_start()));
        }
        for item in &gone {
            budget.take_up(1, item.bytes as usize);
        }
        gone
    }

    fn lock(&self) -> MutexGuard<'_, Map<Text, Flying>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
