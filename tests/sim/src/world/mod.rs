//! A simulated world: several environments on one thread, in virtual time, with one seed that decides
//! everything: which ready task goes on, how late a timer is, what "random" means.
//!
//! Each worker gets a [`Node`], which is its [`Environment`](keylane::env::Environment). A node can be
//! frozen (its tasks are not polled), thawed, and crashed (its tasks are dropped at their current await).

mod chance;
mod node;
mod tasks;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use keylane::env::{BoxFuture, Env, Instant};

pub use chance::Chance;
pub use node::Node;
use tasks::{TaskWaker, Tasks};

/// A simulated world. Clones are handles on the same one.
#[derive(Clone)]
pub struct World(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Tasks that were woken since the last step; apart, because wakers may be called anywhere.
    woken: Arc<Mutex<Vec<usize>>>,
}

struct State {
    now: Duration,
    chance: Chance,
    tasks: Tasks,
    /// Wake-ups by time; the number tells equal times apart, in the order they were asked for.
    timers: std::collections::BTreeMap<(Duration, u64), Waker>,
    timer_number: u64,
    nodes: Vec<NodeState>,
    trace: Vec<String>,
    /// Polls since time last went on.
    still: u64,
}

/// More polls than this without time going on: some task wakes itself, and nothing will ever end.
const STILL_MAX: u64 = 200_000;

#[derive(Default)]
struct NodeState {
    frozen: bool,
    crashed: bool,
    polls: u64,
    /// Crash at this poll.
    crash_at: Option<u64>,
    /// This node's calendar differs by so much.
    wall_offset: Duration,
}

/// The calendar's time at which every world begins.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

impl World {
    /// A world that `seed` decides.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            now: Duration::ZERO,
            chance: Chance::new(seed),
            tasks: Tasks::default(),
            timers: std::collections::BTreeMap::new(),
            timer_number: 0,
            nodes: Vec::new(),
            trace: Vec::new(),
            still: 0,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), woken: Arc::default() }))
    }

    /// A new node of this world: a worker's environment.
    #[must_use]
    pub fn node(&self) -> Node {
        let mut state = self.lock();
        state.nodes.push(NodeState::default());
        Node::new(self.clone(), state.nodes.len() - 1)
    }

    /// The world's own chance, for whoever stages a story in it.
    pub fn random(&self, below: u64) -> u64 {
        self.lock().chance.below(below)
    }

    /// Virtual time since the beginning.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.lock().now
    }

    /// Adds a line to the world's trace, with its time.
    pub fn note(&self, what: impl fmt::Display) {
        let mut state = self.lock();
        let line = format!("{:>12.6} {what}", state.now.as_secs_f64());
        state.trace.push(line);
    }

    /// The trace so far.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.lock().trace.clone()
    }

    /// True when time does not go on any more, because some task wakes itself for ever.
    #[must_use]
    pub fn spins(&self) -> bool {
        self.lock().still > STILL_MAX
    }

    /// Runs until `done` says so or virtual time reaches `limit`; true when done.
    pub fn run_until(&self, limit: Duration, mut done: impl FnMut() -> bool) -> bool {
        loop {
            if done() {
                return true;
            }
            if self.now() >= limit || self.spins() || !self.step() {
                return done();
            }
        }
    }

    /// Runs a future of the story itself to its end, with the world around it.
    ///
    /// # Panics
    /// When it does not end within `limit` of virtual time: the story hangs.
    pub fn block_on<T: Send + 'static>(
        &self,
        limit: Duration,
        story: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let result = Arc::new(Mutex::new(None));
        let slot = result.clone();
        let teller = self.node();
        teller.env().spawn("story", async move {
            let value = story.await;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        });
        let taken = || result.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut value = None;
        let until = self.now() + limit;
        let ended = self.run_until(until, || {
            value = taken();
            value.is_some()
        });
        assert!(ended, "the story did not end within {limit:?} of virtual time");
        value.expect("it ended")
    }

    /// Polls one ready task, chosen by chance; without one, time goes to the next timer. False when
    /// nothing can ever happen again.
    fn step(&self) -> bool {
        self.gather_woken();
        let Some((id, mut future)) = self.choose() else { return self.advance() };
        let waker = Waker::from(Arc::new(TaskWaker { id, woken: self.0.woken.clone() }));
        let over = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let mut state = self.lock();
        state.still += 1;
        let node = state.tasks.node(id);
        let node = &mut state.nodes[node];
        node.polls += 1;
        let crash = node.crash_at.is_some_and(|at| node.polls >= at) && !node.crashed;
        let gone = node.crashed;
        if crash {
            node.crashed = true;
        }
        let mut dropped = Vec::new();
        if over || gone {
            state.tasks.remove(id);
            dropped.push(future);
        } else {
            state.tasks.put_back(id, future);
        }
        if crash {
            let node = state.tasks.node(id);
            dropped.extend(state.tasks.remove_all(node));
        }
        // Dropped without the lock: what a task owns may wake or spawn as it goes.
        drop(state);
        drop(dropped);
        true
    }

    fn gather_woken(&self) {
        let woken = std::mem::take(&mut *self.0.woken.lock().unwrap_or_else(PoisonError::into_inner));
        let mut state = self.lock();
        for id in woken {
            state.tasks.make_ready(id);
        }
    }

    fn choose(&self) -> Option<(usize, BoxFuture<'static, ()>)> {
        let mut state = self.lock();
        let State { tasks, chance, nodes, .. } = &mut *state;
        tasks.choose(chance, |node| !nodes[node].frozen && !nodes[node].crashed)
    }

    fn advance(&self) -> bool {
        let mut state = self.lock();
        let Some(((at, _), waker)) = state.timers.pop_first() else { return false };
        if at > state.now {
            state.now = at;
            state.still = 0;
        }
        let mut due = vec![waker];
        while state.timers.first_key_value().is_some_and(|((next, _), _)| *next <= at) {
            due.extend(state.timers.pop_first().map(|(_, waker)| waker));
        }
        drop(state);
        due.into_iter().for_each(Waker::wake);
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// This node as the environment of a runtime.
    #[must_use]
    pub fn env(&self) -> Env {
        Env::new(self.clone())
    }

    /// Its tasks are not polled until [`thaw`](Self::thaw), as if the process were stopped.
    pub fn freeze(&self) {
        self.world.lock().nodes[self.number].frozen = true;
    }

    /// Goes on after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.world.lock().nodes[self.number].frozen = false;
    }

    /// True while it is stopped.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.world.lock().nodes[self.number].frozen
    }

    /// Drops all its tasks at their current await. Not to be called from one of them.
    pub fn crash(&self) {
        let dropped = {
            let mut state = self.world.lock();
            state.nodes[self.number].crashed = true;
            state.tasks.remove_all(self.number)
        };
        drop(dropped);
    }

    /// Crashes at the `n`-th poll from now.
    pub fn crash_after(&self, n: u64) {
        let mut state = self.world.lock();
        let node = &mut state.nodes[self.number];
        node.crash_at = Some(node.polls + n.max(1));
    }

    /// True after a crash.
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        self.world.lock().nodes[self.number].crashed
    }

    /// Sets this node's calendar forward.
    pub fn set_wall_forward(&self, by: Duration) {
        self.world.lock().nodes[self.number].wall_offset = by;
    }
}

/// The instant of a time since the world began.
fn instant(since: Duration) -> Instant {
    Instant::at(since)
}
