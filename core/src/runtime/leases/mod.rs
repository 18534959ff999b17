//! The keys of a subscription without partitions: which are ours, which we wait for, and what waits with them.
//!
//! A key is here while anything of it is: under its lease, or waiting for it. Nothing that waits for a lease
//! is in a lane, holds a permit, or counts as in flight (rule S9); it is admitted anew when its time has come
//! (rule A2). The task that pulls takes leases; whatever empties a key gives its lease back (rule S7).

mod asked;
mod keys;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Item;
use super::budget::Budget;
use super::tenure::{OfKey, Tenure};
use crate::env::Env;
use crate::handler::{Begin, Scene};
use crate::store::{LeaseKey, LeaseRef, ParkedId, Scope, SessionId};

pub(crate) use asked::Asked;
pub(crate) use keys::enter;
use keys::{Key, State};

pub(crate) struct Leases {
    /// That of all keys: its handlers are to come to an end when the worker drains.
    scene: Arc<Scene>,
    scope: Scope,
    subscription: usize,
    /// One lease for all keys, which no other worker asks for (`lock = "local"`).
    pub(crate) local: bool,
    /// Names what carries no id of its own apart from what other workers and other starts read.
    pub(crate) nonce: u64,
    state: Mutex<State>,
    /// Nothing is taken any more: the worker drains.
    closed: AtomicBool,
    /// Raised when a key begins to wait.
    pub(crate) waits: Notify,
    /// Raised when the last key is gone.
    gone: Notify,
}

impl Leases {
    pub(crate) fn new(
        env: &Env,
        scope: Scope,
        subscription: usize,
        name: Arc<str>,
        local: bool,
        session: SessionId,
        begin: Begin,
    ) -> Self {
        let nobody = LeaseRef { lease: LeaseKey { scope: scope.clone(), key: Bytes::new() }, token: 0 };
        let cancelled = CancellationToken::new();
        let scene = Arc::new(Scene { env: env.clone(), subscription: name, cancelled, begin });
        let lobby = Arc::new(Tenure::of_key(scene.clone(), subscription, OfKey::for_all(nobody)));
        let state = State { session, keys: env.map(), lobby, releasing: env.set(), strays: Vec::new() };
        Self {
            scene,
            scope,
            subscription,
            local,
            nonce: env.uuid().as_u128() as u64,
            state: Mutex::new(state),
            closed: AtomicBool::new(false),
            waits: Notify::new(),
            gone: Notify::new(),
        }
    }

    pub(crate) fn lobby(&self) -> Arc<Tenure> {
        self.lock().lobby.clone()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Lets events join the keys that are ours, makes those wait whose key waits, and says which leases are to
    /// be taken for the rest, which stay in the lobby.
    pub(crate) fn join(&self, budget: &Budget, items: Vec<Item>) -> Asked {
        let mut state = self.lock();
        if self.is_closed() {
            return Asked::nothing(items);
        }
        let (mut here, mut wanted) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
        for mut item in items {
            if item.tenure.is_lost() {
                state.move_to_lobby(&mut item).ended(1);
            }
            if self.local {
                here.push(item);
                continue;
            }
            let key = item.envelope.meta.lane_key();
            match state.keys.get_mut(&key) {
                Some(Key { tenure: Some(tenure), waiting }) if waiting.is_empty() && tenure.join() => {
                    enter(&mut item, &tenure.clone());
                    here.push(item);
                }
                Some(known) => known.wait(budget, item),
                None => {
                    wanted.push((key, here.len()));
                    here.push(item);
                }
            }
        }
        drop(state);
        Asked::of(here, wanted)
    }

    /// A lease was granted to this session. `None`: the session is another by now.
    pub(crate) fn granted(
        &self,
        session: SessionId,
        key: Bytes,
        token: u64,
        marks: usize,
    ) -> Option<Arc<Tenure>> {
        let mut state = self.lock();
        if state.session != session {
            return None;
        }
        let lease = LeaseRef { lease: LeaseKey { scope: self.scope.clone(), key: key.clone() }, token };
        let of = if self.local { OfKey::for_all(lease) } else { OfKey::new(lease, marks) };
        let tenure = Arc::new(Tenure::of_key(self.scene.clone(), self.subscription, of));
        if self.is_closed() {
            tenure.yield_up();
        }
        // Held open until everything that was asked for it has joined.
        tenure.opened(1);
        if self.local {
            state.lobby = tenure.clone();
        } else {
            state.keys.entry(key).or_default().tenure = Some(tenure.clone());
        }
        Some(tenure)
    }

    /// Another worker has the key: what is there of it waits. Given back to the caller when the worker drains.
    pub(crate) fn wait(&self, budget: &Budget, item: Item) -> Option<Item> {
        let mut state = self.lock();
        if self.is_closed() {
            return Some(item);
        }
        let key = item.envelope.meta.lane_key();
        state.keys.entry(key).or_default().wait(budget, item);
        drop(state);
        self.waits.notify_one();
        None
    }

    /// Another worker has the key, and nothing of it is left to do here: the store has us stand in the line for it
    /// all the same, so that it is taken and given back when our turn comes (rule S9).
    pub(crate) fn stands_in_line(&self, key: Bytes) {
        let mut state = self.lock();
        if !self.is_closed() {
            state.keys.entry(key).or_default();
            self.waits.notify_one();
        }
    }

    /// An event whose key ends here before it ran: it waits for the key's next time, in the lobby. The caller
    /// says of its tenure that it ended. Given back when the worker drains.
    pub(crate) fn back(&self, budget: &Budget, mut item: Item) -> Option<Item> {
        let mut state = self.lock();
        drop(state.move_to_lobby(&mut item));
        if self.is_closed() {
            return Some(item);
        }
        let key = item.envelope.meta.lane_key();
        state.keys.entry(key).or_default().wait(budget, item);
        None
    }

    /// Runs `tell` while the task that takes leases can still be told; else the caller acts in its place.
    pub(crate) fn tell(&self, tell: impl FnOnce()) -> bool {
        let _state = self.lock();
        if self.is_closed() {
            return false;
        }
        tell();
        true
    }

    /// A key's time is over: what waited is to be admitted anew, oldest first.
    pub(crate) fn over(&self, budget: &Budget, tenure: &Arc<Tenure>) -> Vec<Item> {
        let Some(of) = tenure.key() else { return Vec::new() };
        let key = &of.lease.lease.key;
        let mut state = self.lock();
        if !state.has(key, tenure) {
            return Vec::new();
        }
        if tenure.is_lost() {
            // Its lease may be the session's still, and something of it on its way to the store: no second tenure gives
            // it back beside (rule C7).
            state.strays.push(Arc::downgrade(tenure));
        }
        let waiting = state.take(key, budget);
        let last = state.keys.is_empty();
        drop(state);
        if last {
            self.gone.notify_waiters();
        }
        waiting
    }

    /// A key's lease was not given back after all: what waited is to join it.
    pub(crate) fn kept(&self, budget: &Budget, tenure: &Arc<Tenure>) -> Vec<Item> {
        let Some(of) = tenure.key() else { return Vec::new() };
        let key = &of.lease.lease.key;
        let mut state = self.lock();
        match state.keys.get_mut(key) {
            Some(known) if known.is(tenure) => known.take(budget),
            _ => Vec::new(),
        }
    }

    /// The store says that these keys may be had.
    pub(crate) fn freed(&self, budget: &Budget, keys: &[LeaseKey]) -> Freed {
        let mut state = self.lock();
        let mut freed = Freed::default();
        for key in keys.iter().filter(|key| key.scope == self.scope) {
            match state.keys.get(&key.key) {
                Some(Key { tenure: None, .. }) => {
                    let items = state.take(&key.key, budget);
                    if items.is_empty() {
                        freed.unwanted.push(key.key.clone());
                    }
                    freed.items.extend(items);
                }
                Some(_) => {}
                None => freed.unwanted.push(key.key.clone()),
            }
        }
        freed
    }

    /// The store says what this session holds: what nothing here knows of is to be given back (rule S7). Called
    /// by the task that takes leases, so that no answer is on its way.
    pub(crate) fn unknown(&self, held: &[LeaseRef]) -> Vec<Arc<Tenure>> {
        let mut state = self.lock();
        state.strays.retain(|stray| stray.strong_count() > 0);
        let known = |lease: &LeaseRef| {
            let same = |tenure: &Arc<Tenure>| tenure.key().is_some_and(|of| of.lease == *lease);
            same(&state.lobby)
                // Each is given back once, however long the store takes (rule C7).
                || state.strays.iter().filter_map(Weak::upgrade).any(|stray| same(&stray))
                || state.keys.get(&lease.lease.key).and_then(|key| key.tenure.as_ref()).is_some_and(same)
        };
        let own = held.iter().filter(|lease| lease.lease.scope == self.scope && !known(lease));
        let strays: Vec<_> = own.map(|lease| self.stray(lease.clone())).collect();
        state.strays.extend(strays.iter().map(Arc::downgrade));
        strays
    }

    /// A tenure of a lease that nothing runs under, to give it back by.
    fn stray(&self, lease: LeaseRef) -> Arc<Tenure> {
        Arc::new(Tenure::of_key(self.scene.clone(), self.subscription, OfKey::stray(lease)))
    }

    /// Others wait for these keys: each is given up when it had its turn (rule S9). True when one is.
    pub(crate) fn contended(&self, leases: &[LeaseRef]) -> bool {
        let state = self.lock();
        let mut any = false;
        for lease in leases.iter().filter(|lease| lease.lease.scope == self.scope) {
            let known = state.keys.get(&lease.lease.key).and_then(|key| key.tenure.as_ref());
            let of = known.and_then(|tenure| Some((tenure, tenure.key()?)));
            if let Some((tenure, of)) = of
                && of.lease == *lease
                && of.had_its_turn()
                && tenure.may_start()
            {
                tenure.yield_up();
                any = true;
            }
        }
        any
    }

    /// The session is gone, and every lease with it.
    pub(crate) fn lose_all(&self, next: SessionId) {
        let mut state = self.lock();
        state.session = next;
        for tenure in state.keys.values().filter_map(|key| key.tenure.as_ref()) {
            tenure.lose();
        }
        if self.local {
            state.lobby.lose();
        }
    }

    /// The session is another one, of which the store does not know that it waits: what waits is to ask anew.
    /// It may know that already of some of which nothing is left: those are asked for as well.
    pub(crate) fn asks_anew(&self, budget: &Budget) -> Freed {
        let mut state = self.lock();
        let waits = state.keys.iter().filter(|(_, known)| known.tenure.is_none());
        let mut waits: Vec<Bytes> = waits.map(|(key, _)| key.clone()).collect();
        waits.sort_unstable();
        let mut asked = Freed::default();
        for key in waits {
            let items = state.take(&key, budget);
            if items.is_empty() {
                asked.unwanted.push(key);
            } else {
                asked.items.extend(items);
            }
        }
        asked
    }

    /// Takes nothing more and starts nothing more; what waits is given to the caller.
    pub(crate) fn close(&self, budget: &Budget) -> Vec<Item> {
        let mut state = self.lock();
        self.closed.store(true, Ordering::Release);
        self.scene.cancelled.cancel();
        state.lobby.yield_up();
        let keys: Vec<Bytes> = state.keys.keys().cloned().collect();
        let mut waiting = Vec::new();
        for key in keys {
            if let Some(known) = state.keys.get_mut(&key) {
                if let Some(tenure) = &known.tenure {
                    tenure.yield_up();
                }
                waiting.extend(known.take(budget));
            }
            if state.keys.get(&key).is_some_and(|known| known.tenure.is_none()) {
                state.keys.remove(&key);
            }
        }
        waiting
    }

    /// Drops every running handler at its next await.
    pub(crate) fn abort_all(&self) {
        let state = self.lock();
        state.lobby.abort();
        for tenure in state.keys.values().filter_map(|key| key.tenure.as_ref()) {
            tenure.abort();
        }
    }

    /// Completes when no key is here and nothing is open in the lobby; cancel-safe.
    pub(crate) async fn empty(&self) {
        loop {
            let gone = self.gone.notified();
            let (empty, lobby) = {
                let state = self.lock();
                (state.keys.is_empty(), state.lobby.clone())
            };
            if empty {
                return lobby.empty().await;
            }
            gone.await;
        }
    }

    /// True when something waits for another worker's lease.
    pub(crate) fn is_waiting(&self) -> bool {
        self.lock().keys.values().any(|key| key.tenure.is_none())
    }

    /// A released letter is on its way; false when it was before.
    pub(crate) fn releases(&self, id: ParkedId) -> bool {
        self.lock().releasing.insert(id)
    }

    pub(crate) fn released(&self, id: &ParkedId) {
        self.lock().releasing.remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came free.
#[derive(Default)]
pub(crate) struct Freed {
    /// What waited for it.
    pub(crate) items: Vec<Item>,
    /// Keys of which nothing waits any more: to be taken and given back, so that the next in line hears of it.
    pub(crate) unwanted: Vec<Bytes>,
}
