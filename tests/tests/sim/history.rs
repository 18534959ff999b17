//! What the simulation's own eyes saw, and what they hold against it while it happens.
//!
//! While a seed runs:
//!
//! - **One at a time (S4, S5, U1).** When a run of a key begins on a worker, no other run of that key is open
//!   - on the same worker, whatever happened to it;
//!   - on another worker whose promise holds at that moment, by that worker's own two clocks. The promise is
//!     counted here as the worker must count it: from before the last call that was answered with a renewal,
//!     for the session's lifetime, by the larger of both clocks. So a run may be overtaken only where its
//!     worker could know by itself that it has to stop: it was frozen, its clock jumped, or its store was
//!     away, for as long as its session lives.
//!
//!   A run is open from its handler's first poll until its future has returned or was dropped.
//! - **No run begins without a promise (S4)**, counted the same way, and none returns when the promise has been
//!   out for more than a moment: it was dropped. A moment after it was frozen, or its clock jumped, a worker may
//!   not have looked yet.
//! - **Settled only after durable.** When the broker is told a base, by a commit or a handback, every event
//!   below it is finished or dead in the store at that moment.
//!
//! What is held against the end stands in `account`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keylane::Env;
use keylane::broker::{Base, Partition};
use keylane::env::{Instant, Timestamp};
use keylane::memory::MemoryBroker;
use keylane::store::{CommitGroup, Fate, Verdict};
use keylane_tests::faults::{BrokerEyes, StoreEyes};
use keylane_tests::sim::World;

/// As configured.
const SESSION: Duration = Duration::from_secs(3);

/// Some times what a worker takes to look whether its promise is out.
const MOMENT: Duration = Duration::from_millis(200);

/// An event of the story: the `number`-th of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Event {
    pub(super) key: u64,
    pub(super) number: u64,
}

impl Event {
    pub(super) fn key_text(&self) -> String {
        format!("k{}", self.key)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}/{}", self.key, self.number)
    }
}

/// One seed's history. Clones are handles on the same one.
#[derive(Clone)]
pub(super) struct History {
    world: World,
    broker: MemoryBroker,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
pub(super) struct Seen {
    /// Runs that are open, by their number.
    open: BTreeMap<u64, (usize, Vec<Event>)>,
    runs: u64,
    promises: BTreeMap<usize, Promise>,
    /// Finished or dead in the store.
    pub(super) durable: BTreeSet<Event>,
    /// Looks at the committed effects: who, which event, up to where its key's effects went.
    pub(super) looks: Vec<(usize, Event, u64)>,
    /// Tries of an event that failed.
    pub(super) failures: BTreeMap<Event, u32>,
    pub(super) wrong: Vec<String>,
}

struct Promise {
    env: Env,
    /// The two clocks before the last renewal that was answered.
    sent: Option<(Instant, Timestamp)>,
    /// When the worker was frozen or its clock was set, for the last time.
    stirred: Instant,
}

impl Promise {
    fn holds(&self) -> bool {
        self.age().is_some_and(|age| age < SESSION)
    }

    /// By the larger of the two clocks.
    fn age(&self) -> Option<Duration> {
        self.sent.map(|(now, wall)| self.env.now().since(now).max(self.env.wall().since(wall)))
    }

    /// The worker must have noticed that it is out.
    fn is_long_out(&self) -> bool {
        let known = self.env.now().since(self.stirred) > MOMENT;
        known && self.age().is_some_and(|age| age > SESSION + MOMENT)
    }
}

impl History {
    pub(super) fn new(world: &World, broker: &MemoryBroker) -> Self {
        Self { world: world.clone(), broker: broker.clone(), seen: Arc::default() }
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker's eyes on its store and its broker.
    pub(super) fn eyes(&self, node: usize, env: &Env) -> Arc<Eyes> {
        let promise = Promise { env: env.clone(), sent: None, stirred: env.now() };
        self.seen().promises.insert(node, promise);
        Arc::new(Eyes { node, history: self.clone() })
    }

    /// A handler's run begins, each event with the number of its try.
    pub(super) fn begin(&self, node: usize, tries: &[(Event, u32)]) -> Run {
        for (event, attempt) in tries {
            self.world.note(format_args!("node {node} start {event} attempt {attempt}"));
        }
        let events: Vec<Event> = tries.iter().map(|(event, _)| *event).collect();
        let mut seen = self.seen();
        let mut wrong = seen.overlaps(node, &events);
        if !seen.promises.get(&node).is_some_and(Promise::holds) {
            wrong.push(format!("node {node} starts {} without a promise", events[0]));
        }
        for what in &wrong {
            self.world.note(format_args!("WRONG {what}"));
        }
        seen.wrong.extend(wrong);
        seen.runs += 1;
        let number = seen.runs;
        seen.open.insert(number, (node, events));
        Run { history: self.clone(), number }
    }

    /// A worker goes on after a freeze, or its clock was set: it needs a moment to notice what that means.
    pub(super) fn stirred(&self, node: usize) {
        if let Some(promise) = self.seen().promises.get_mut(&node) {
            promise.stirred = promise.env.now();
        }
    }

    /// A handler looked at what is committed of its event's key.
    pub(super) fn saw(&self, node: usize, event: Event, up_to: u64) {
        self.seen().looks.push((node, event, up_to));
    }

    /// A try failed, by the handler's word or a write's.
    pub(super) fn failed(&self, event: &Event) {
        *self.seen().failures.entry(*event).or_default() += 1;
    }

    /// The event that lies there.
    fn at(&self, partition: Partition, offset: u64) -> Option<Event> {
        let records = self.broker.records("orders", partition);
        let record = records.get(usize::try_from(offset).ok()?)?;
        let key = std::str::from_utf8(record.key.as_ref()?).ok()?.strip_prefix('k')?.parse().ok()?;
        let number = std::str::from_utf8(&record.payload).ok()?.parse().ok()?;
        Some(Event { key, number })
    }
}

impl Seen {
    /// What is wrong with a run of these events that begins on a worker now.
    fn overlaps(&self, node: usize, events: &[Event]) -> Vec<String> {
        let mut wrong = Vec::new();
        for (other, theirs) in self.open.values() {
            let common = theirs.iter().find(|theirs| events.iter().any(|event| event.key == theirs.key));
            let Some(theirs) = common else { continue };
            let promised = self.promises.get(other).is_some_and(Promise::holds);
            if *other == node || promised {
                wrong.push(format!("node {node} starts {} while node {other} runs {theirs}", events[0]));
            }
        }
        wrong
    }
}

/// A run that is open. Dropped, it is over, whether its handler returned or was dropped.
pub(super) struct Run {
    history: History,
    number: u64,
}

impl Run {
    /// The handler returns with its work done.
    pub(super) fn ends(self) {
        let mut seen = self.history.seen();
        let Some((node, events)) = seen.open.get(&self.number) else { return };
        let (node, event) = (*node, events[0]);
        if seen.promises.get(&node).is_some_and(Promise::is_long_out) {
            seen.wrong.push(format!("node {node} was let end {event} long after its promise"));
        }
        drop(seen);
        self.history.world.note(format_args!("node {node} stop {event}"));
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.history.seen().open.remove(&self.number);
    }
}

/// A worker's eyes.
pub(super) struct Eyes {
    node: usize,
    history: History,
}

impl Eyes {
    fn promise(&self, sent: Option<(Instant, Timestamp)>) {
        if let Some(promise) = self.history.seen().promises.get_mut(&self.node) {
            promise.sent = sent;
        }
    }
}

impl StoreEyes for Eyes {
    fn promised(&self, sent: (Instant, Timestamp)) {
        self.promise(Some(sent));
    }

    fn session_lost(&self) {
        self.promise(None);
    }

    fn durable(&self, group: &CommitGroup, fates: &[Fate]) {
        for (event, fate) in group.events().zip(fates) {
            let ends = matches!(event.verdict, Verdict::Finish | Verdict::Park(_));
            if ends && *fate == Fate::Committed {
                let Some(claim) = group.holds[event.hold].claim().map(|claim| &claim.claim) else { continue };
                let at = self.history.at(claim.partition, event.offset);
                if let Some(event) = at {
                    let (node, epoch) = (self.node, claim.epoch);
                    self.history.world.note(format_args!("node {node} wrote {event} under epoch {epoch}"));
                }
                self.history.seen().durable.extend(at);
            }
        }
    }
}

impl BrokerEyes for Eyes {
    fn told(&self, bases: &[Base]) {
        for base in bases {
            for event in (0..base.offset).filter_map(|offset| self.history.at(base.partition, offset)) {
                let mut seen = self.history.seen();
                if !seen.durable.contains(&event) {
                    let (node, partition, offset) = (self.node, base.partition, base.offset);
                    let what = format!(
                        "node {node} tells the broker that {partition} is finished below {offset}, and {event} is not"
                    );
                    seen.wrong.push(what);
                }
            }
        }
    }
}
