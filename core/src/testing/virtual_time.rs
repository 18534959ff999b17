//! An environment whose time jumps: when no task can go on, the clock moves to the next timer.
//!
//! It runs inside whoever awaits [`VirtualTime::drive`], on one thread.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::env::{BoxFuture, Environment, Instant, Timestamp};

#[derive(Clone)]
pub(super) struct VirtualTime(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    ready: Arc<Mutex<VecDeque<usize>>>,
}

#[derive(Default)]
struct State {
    now: Duration,
    tasks: BTreeMap<usize, Option<BoxFuture<'static, ()>>>,
    next_task: usize,
    timers: BTreeMap<(Duration, u64), Waker>,
    next_timer: u64,
    chance: u64,
    abandoned: bool,
}

/// The calendar's time at which every test begins.
const EPOCH_MICROS: i64 = 1_767_225_600_000_000;

struct TaskWaker {
    task: usize,
    ready: Arc<Mutex<VecDeque<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = lock(&self.ready);
        // Once is enough, or tasks that wake each other would multiply.
        if !ready.contains(&self.task) {
            ready.push_back(self.task);
        }
    }
}

impl VirtualTime {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), ready: Arc::default() }))
    }

    /// Runs everything in this environment until `future` is ready.
    pub(super) async fn drive<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        let driven = std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(value) = future.as_mut().poll(cx) {
                    return Poll::Ready(value);
                }
                if !self.run_ready() && !self.jump() {
                    // Something waits for the world outside, which will wake us.
                    return Poll::Pending;
                }
            }
        });
        // Many tasks are polled within this one: tokio's budget of operations for a task would be used up, and
        // nothing of it would go on while time jumps.
        tokio::task::unconstrained(driven).await
    }

    /// Polls every ready task once; false when there was none.
    fn run_ready(&self) -> bool {
        let ready = std::mem::take(&mut *lock(&self.0.ready));
        let any = !ready.is_empty();
        for task in ready {
            let Some(mut future) = self.lock().tasks.get_mut(&task).and_then(Option::take) else { continue };
            let waker = Waker::from(Arc::new(TaskWaker { task, ready: self.0.ready.clone() }));
            let over = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
            let mut state = self.lock();
            if over || state.abandoned {
                state.tasks.remove(&task);
                drop(state);
                drop(future);
            } else {
                state.tasks.insert(task, Some(future));
            }
        }
        any
    }

    /// Moves the clock to the next timer; false when there is none.
    fn jump(&self) -> bool {
        let mut state = self.lock();
        let Some(((at, _), waker)) = state.timers.pop_first() else { return false };
        state.now = state.now.max(at);
        drop(state);
        waker.wake();
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }
}

impl Environment for VirtualTime {
    fn now(&self) -> Instant {
        Instant::at(self.lock().now)
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_micros(EPOCH_MICROS) + self.lock().now
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        Box::pin(Sleep { time: self.clone(), at: deadline.since_origin(), asked: None })
    }

    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        let mut state = self.lock();
        if state.abandoned {
            drop(state);
            return drop(task);
        }
        let number = state.next_task;
        state.next_task += 1;
        state.tasks.insert(number, Some(task));
        drop(state);
        lock(&self.0.ready).push_back(number);
    }

    fn spawn_dedicated(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.spawn(name, task);
    }

    fn random(&self) -> u64 {
        let mut state = self.lock();
        state.chance = state.chance.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state.chance ^ (state.chance >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn stop_signal(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn abandon(&self) {
        let tasks = {
            let mut state = self.lock();
            state.abandoned = true;
            std::mem::take(&mut state.tasks)
        };
        drop(tasks);
    }
}

struct Sleep {
    time: VirtualTime,
    at: Duration,
    asked: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.time.lock();
        let old = this.asked.take().and_then(|number| state.timers.remove(&(this.at, number)));
        if state.now >= this.at {
            drop(state);
            drop(old);
            return Poll::Ready(());
        }
        let number = state.next_timer;
        state.next_timer += 1;
        state.timers.insert((this.at, number), context.waker().clone());
        this.asked = Some(number);
        drop(state);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.asked.take() {
            let waker = self.time.lock().timers.remove(&(self.at, number));
            drop(waker);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
