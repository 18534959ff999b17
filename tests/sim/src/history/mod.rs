//! What the simulation's own eyes saw, and what they hold against it while it happens.
//!
//! While a seed runs:
//!
//! - **One at a time (S4, S5, U1).** When a run of a key begins on a worker, no other run of that key is open
//!   - on the same worker, whatever happened to it;
//!   - on another worker whose promise holds at that moment, by that worker's own two clocks, or has been out for
//!     longer than it takes to notice. The promise is counted here as the worker must count it: from before the
//!     last call that was answered with a renewal, for the session's lifetime, by the larger of both clocks. So a
//!     run may be overtaken only where its worker could know by itself that it has to stop: it was frozen, its
//!     clock jumped, or its store was away, for as long as its session lives.
//!
//!   A run is open from its handler's first poll until its future has returned or was dropped.
//! - **No run begins without a promise (S4)**, counted the same way, and none returns when the promise has been
//!   out for more than a moment: it was dropped. A moment after it was frozen, or its clock jumped, a worker may
//!   not have looked yet.
//! - **No run begins of what is over (A1, A2, A3, U1).** What is finished or dead is known before it runs.
//! - **Settled only after durable.** When the broker is told a base or an acknowledgement, every event that it
//!   covers is finished or dead in the store at that moment.
//! - **Trouble burns nothing (C4, T2)**: no attempt is counted that did not fail.
//! - **Tokens grow (A4)**: of the leases of a key, and from one effect of a key to the next; epochs likewise (S2).
//! - **Memory is bounded**: what was handed to a worker and still lives there.
//! - **Nothing spins**: calls that fail in a virtual second.
//!
//! What is held against the end stands in `account`.

mod eyes;
mod holds;
mod promise;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keylane::store::SessionId;

use crate::event::Event;
use crate::mix::Mix;
use crate::world::{Node, World};
pub(crate) use eyes::{Eyes, Places};
use holds::Holds;
use promise::Promise;

/// One seed's history. Clones are handles on the same one.
#[derive(Clone)]
pub(crate) struct History {
    world: World,
    mix: Mix,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
pub(crate) struct Seen {
    /// Runs that are open, by their number.
    open: BTreeMap<u64, (usize, Vec<Event>)>,
    /// Runs that began under an earlier session of their worker, and when the next one began there: the promise that they
    /// began with is out, and they are about to be dropped.
    before: BTreeMap<u64, Duration>,
    runs: u64,
    promises: BTreeMap<usize, Promise>,
    holds: Holds,
    /// Calls of a worker's store in a virtual second: all, and those that failed.
    calls: BTreeMap<(usize, u64), (u32, u32)>,
    /// Finished or dead in the store.
    durable: BTreeSet<Event>,
    /// The same, and not released since.
    over: BTreeSet<Event>,
    /// Dead letters that an operator released, at any time.
    pub(crate) released: BTreeSet<Event>,
    /// Looks at the committed effects: who, which event, up to where its key's effects went.
    pub(crate) looks: Vec<(usize, Event, u64)>,
    /// Tries of an event that failed.
    pub(crate) failures: BTreeMap<Event, u32>,
    /// How often an event killed its worker.
    pub(crate) kills: BTreeMap<Event, u32>,
    pub(crate) wrong: Vec<String>,
}

impl History {
    pub(crate) fn new(world: &World, mix: Mix) -> Self {
        Self { world: world.clone(), mix, seen: Arc::default() }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker joins; its eyes on its store and its broker.
    pub(crate) fn eyes(&self, node: &Node, place: Places) -> Arc<Eyes> {
        self.seen().promises.insert(node.number(), Promise::new(node));
        Arc::new(Eyes::new(node.number(), self.clone(), place))
    }

    /// Something is not as it must be.
    pub(crate) fn wrong(&self, what: String) {
        self.world.note(format_args!("WRONG {what}"));
        self.seen().wrong.push(what);
    }

    /// A handler's run begins, each event with the number of its try.
    pub(crate) fn begin(&self, node: usize, tries: &[(Event, u32)]) -> Run {
        for (event, attempt) in tries {
            self.world.note(format_args!("node {node} start {event} attempt {attempt}"));
        }
        let events: Vec<Event> = tries.iter().map(|(event, _)| *event).collect();
        let mut seen = self.seen();
        let mut wrong = seen.overlaps(&self.mix, node, &events, self.world.now());
        if !seen.promises.get(&node).is_some_and(Promise::holds) {
            wrong.push(format!("node {node} starts {} without a promise", events[0]));
        }
        if self.mix.is_once() && !self.mix.local {
            for event in events.iter().filter(|event| seen.over.contains(event)) {
                wrong.push(format!("node {node} starts {event}, which is over"));
            }
        }
        for (event, attempt) in tries {
            let failed = seen.failures.get(&event.id()).copied().unwrap_or(0);
            if attempt - 1 > failed {
                wrong.push(format!(
                    "node {node} starts {event} with attempt {attempt}, and {failed} tries failed"
                ));
            }
        }
        seen.runs += 1;
        let number = seen.runs;
        seen.open.insert(number, (node, events));
        drop(seen);
        wrong.into_iter().for_each(|what| self.wrong(what));
        Run { history: self.clone(), number }
    }

    /// A worker goes on after a freeze, or its clock was set: it needs a moment to notice what that means.
    pub(crate) fn stirred(&self, node: usize) {
        let mut seen = self.seen();
        // Who was stopped in a handler may find that it took longer than its limit.
        let open: Vec<Event> =
            seen.open.values().filter(|(of, _)| *of == node).flat_map(|(_, events)| events.clone()).collect();
        for event in open {
            *seen.failures.entry(event.id()).or_default() += 1;
        }
        drop(seen);
        if let Some(promise) = self.seen().promises.get_mut(&node) {
            promise.stir();
        }
    }

    /// A handler looked at what is committed of its event's key.
    pub(crate) fn saw(&self, node: usize, event: Event, up_to: u64) {
        self.seen().looks.push((node, event, up_to));
    }

    /// A try failed, by the handler's word or a write's.
    pub(crate) fn failed(&self, event: Event) {
        *self.seen().failures.entry(event.id()).or_default() += 1;
    }

    /// The event kills its worker.
    pub(crate) fn killed(&self, node: usize, event: Event) {
        self.world.note(format_args!("node {node} is killed by {event}"));
        *self.seen().kills.entry(event).or_default() += 1;
    }

    /// An operator released a dead letter.
    pub(crate) fn released(&self, event: Event) {
        self.world.note(format_args!("an operator releases {event}"));
        let mut seen = self.seen();
        seen.over.remove(&event);
        seen.released.insert(event);
    }

    /// Nothing goes wrong by chance any more: who waits for a lease gets it in its turn from now on.
    pub(crate) fn calm(&self) {
        self.world.note("all faults end");
        self.seen().holds.calm();
    }

    /// How many handlers run.
    pub(crate) fn runs(&self) -> usize {
        self.seen().open.len()
    }

    /// How often a worker's store was called since this second.
    pub(crate) fn calls_since(&self, node: usize, second: u64) -> u32 {
        let seen = self.seen();
        seen.calls.range((node, second)..=(node, u64::MAX)).map(|(_, (all, _))| all).sum()
    }

    /// The session of a worker that is there.
    pub(crate) fn sessions(&self) -> Vec<(usize, SessionId)> {
        let seen = self.seen();
        let there = seen
            .holds
            .sessions()
            .filter(|(node, _)| seen.promises.get(node).is_some_and(|promise| !promise.is_gone()));
        there.collect()
    }
}

impl Seen {
    /// The sessions of workers that are there and go on. One that was not renewed in time is past its expiry, and nothing
    /// is kept for it until it is renewed after all.
    fn living(&self) -> Vec<SessionId> {
        let there = |promise: &Promise| !promise.is_gone() && !promise.is_frozen() && promise.holds();
        let sessions = self.holds.sessions();
        let living = sessions.filter(|(node, _)| self.promises.get(node).is_some_and(there));
        living.map(|(_, session)| session).collect()
    }

    /// What is wrong with a run of these events that begins on a worker now.
    fn overlaps(&self, mix: &Mix, node: usize, events: &[Event], now: Duration) -> Vec<String> {
        let mut wrong = Vec::new();
        for (number, (other, theirs)) in &self.open {
            let common = theirs.iter().find(|theirs| events.iter().any(|event| event.key == theirs.key));
            let Some(theirs) = common else { continue };
            let dropped_soon = self.before.get(number).is_some_and(|at| now < *at + promise::MOMENT);
            let bound = |promise: &Promise| (promise.holds() && !dropped_soon) || promise.is_long_out();
            let bound = !mix.local && self.promises.get(other).is_some_and(bound);
            if *other == node || bound {
                wrong.push(format!("node {node} starts {} while node {other} runs {theirs}", events[0]));
            }
        }
        wrong
    }
}

/// A run that is open. Dropped, it is over, whether its handler returned or was dropped.
pub(crate) struct Run {
    history: History,
    number: u64,
}

impl Run {
    /// The handler returns with its work done.
    pub(crate) fn ends(self) {
        let seen = self.history.seen();
        let Some((node, events)) = seen.open.get(&self.number) else { return };
        let (node, event) = (*node, events[0]);
        let late = seen.promises.get(&node).is_some_and(Promise::is_long_out);
        drop(seen);
        if late {
            self.history.wrong(format!("node {node} was let end {event} long after its promise"));
        }
        self.history.world.note(format_args!("node {node} stop {event}"));
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let mut seen = self.history.seen();
        seen.open.remove(&self.number);
        seen.before.remove(&self.number);
    }
}
