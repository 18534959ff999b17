//! What is known of each key, under the lock of [`Leases`](super::Leases).

use std::sync::{Arc, Weak};

use bytes::Bytes;

use crate::env::{Map, Set};
use crate::runtime::budget::Budget;
use crate::runtime::tenure::{OfKey, Tenure};
use crate::runtime::{Item, Mark};
use crate::store::{ParkedId, SessionId};

/// All that is known of the keys of one subscription.
pub(super) struct State {
    pub(super) session: SessionId,
    pub(super) keys: Map<Bytes, Key>,
    /// Where events stand that have no lease yet; with `local`, the tenure of all of them.
    pub(super) lobby: Arc<Tenure>,
    /// Parked events that were released and are on their way.
    pub(super) releasing: Set<ParkedId>,
    /// Leases that nothing else here knows of, on their way back, or lost with something still on its way.
    pub(super) strays: Vec<Weak<Tenure>>,
}

/// One key of which something is here.
#[derive(Default)]
pub(super) struct Key {
    /// Its time with us; over its end, until the store's answer (rule S6).
    pub(super) tenure: Option<Arc<Tenure>>,
    /// What has to wait, in the order of arrival.
    pub(super) waiting: Vec<Item>,
}

impl State {
    /// Gives the tenure that the item leaves, where it is to be counted as ended.
    pub(super) fn move_to_lobby(&mut self, item: &mut Item) -> Arc<Tenure> {
        item.unmark();
        self.lobby.opened(1);
        std::mem::replace(&mut item.tenure, self.lobby.clone())
    }

    pub(super) fn has(&self, key: &Bytes, tenure: &Arc<Tenure>) -> bool {
        self.keys.get(key).is_some_and(|known| known.is(tenure))
    }

    pub(super) fn take(&mut self, key: &Bytes, budget: &Budget) -> Vec<Item> {
        self.keys.remove(key).map(|mut known| known.take(budget)).unwrap_or_default()
    }
}

impl Key {
    pub(super) fn is(&self, tenure: &Arc<Tenure>) -> bool {
        self.tenure.as_ref().is_some_and(|known| Arc::ptr_eq(known, tenure))
    }

    pub(super) fn wait(&mut self, budget: &Budget, mut item: Item) {
        if !std::mem::replace(&mut item.aside, true) {
            budget.set_aside(1, item.bytes as usize);
        }
        self.waiting.push(item);
    }

    pub(super) fn take(&mut self, budget: &Budget) -> Vec<Item> {
        let mut items = std::mem::take(&mut self.waiting);
        for item in &mut items {
            item.aside = false;
            budget.take_up(1, item.bytes as usize);
        }
        // What ran into its key's end came before what arrived since.
        items.sort_by_key(Item::offset);
        items
    }
}

/// From the lobby to its key; `tenure` was joined.
pub(crate) fn enter(item: &mut Item, tenure: &Arc<Tenure>) {
    let before = std::mem::replace(&mut item.tenure, tenure.clone());
    before.ended(1);
    // T1: what was never handed over before nobody has begun, and a dead worker may leave thousands of keys.
    if tenure.key().is_some_and(OfKey::comes) && item.again {
        item.history().mark = Mark::Wanted;
    }
}
