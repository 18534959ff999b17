//! Rule A3: the same id twice among what is in flight here. One runs, the other waits for its result.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Item;
use super::subscription::Subscription;
use crate::env::{Env, Map};
use crate::text::Text;

pub(crate) struct Twins(Mutex<Map<Text, Vec<Item>>>);

impl Twins {
    pub(crate) fn new(env: &Env) -> Self {
        Self(Mutex::new(env.map()))
    }

    /// The items that may run; one whose id is in flight waits behind it and is given back by `ended`.
    pub(crate) fn first_only(&self, items: Vec<Item>) -> Vec<Item> {
        let mut flying = self.lock();
        let mut first = Vec::with_capacity(items.len());
        for item in items {
            match flying.get_mut(&item.id()) {
                Some(waiting) => waiting.push(item),
                None => {
                    flying.insert(item.id(), Vec::new());
                    first.push(item);
                }
            }
        }
        first
    }

    /// The running one is over. Who waited is admitted anew (rule A2), for only the store knows what
    /// became of the id.
    pub(crate) fn ended(&self, sub: &Arc<Subscription>, item: &Item) {
        let waiting = self.lock().remove(&item.id()).unwrap_or_default();
        if !waiting.is_empty() {
            sub.control.send(super::subscription::Control::Again(waiting));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Map<Text, Vec<Item>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
