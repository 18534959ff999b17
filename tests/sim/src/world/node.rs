//! A node: one worker's environment in a simulated world.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use keylane::env::{BoxFuture, Environment, Instant, Timestamp};

use super::{EPOCH, World, instant};

/// One worker's environment.
#[derive(Clone)]
pub struct Node {
    pub(super) world: World,
    pub(super) number: usize,
    busy: Duration,
}

impl Node {
    pub(super) fn new(world: World, number: usize) -> Self {
        Self { world, number, busy: Duration::ZERO }
    }

    /// The same node, where a handler with a task of its own computes for this long between its first await
    /// and the next: nothing can stop it there.
    #[must_use]
    pub fn with_busy_handlers(self, busy: Duration) -> Self {
        Self { busy, ..self }
    }

    /// Its number in the world.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }
}

impl Node {
    fn busily(&self, mut task: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        let (node, busy) = (self.clone(), self.busy);
        Box::pin(async move {
            let first = std::future::poll_fn(|context| Poll::Ready(task.as_mut().poll(context))).await;
            if first.is_pending() {
                node.sleep_until(node.now() + busy).await;
                task.await;
            }
        })
    }
}

impl Environment for Node {
    fn now(&self) -> Instant {
        instant(self.world.lock().now)
    }

    fn wall(&self) -> Timestamp {
        let state = self.world.lock();
        let since = EPOCH + state.now + state.nodes[self.number].wall_offset;
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        // A timer is never early, and now and then late.
        let late = {
            let mut state = self.world.lock();
            if state.chance.below(8) == 0 {
                Duration::from_micros(state.chance.below(5_000))
            } else {
                Duration::ZERO
            }
        };
        let at = deadline.since_origin().saturating_add(late).min(FAR);
        Box::pin(Sleep { world: self.world.clone(), at, asked: None })
    }

    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let task = if name == "handler" && !self.busy.is_zero() { self.busily(task) } else { task };
        let mut state = self.world.lock();
        if state.nodes[self.number].crashed {
            drop(state);
            drop(task);
            return;
        }
        state.tasks.add(self.number, task);
    }

    fn spawn_dedicated(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.spawn(name, task);
    }

    fn random(&self) -> u64 {
        self.world.lock().chance.bits()
    }

    fn stop_signal(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn abandon(&self) {
        // Called when a runtime's handle is dropped, maybe inside one of its tasks: the world drops the
        // others now, and that one when its poll returns.
        self.crash();
    }
}

/// Beyond the end of any story.
const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365);

struct Sleep {
    world: World,
    at: Duration,
    asked: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.world.lock();
        if let Some(number) = this.asked.take() {
            state.timers.remove(&(this.at, number));
        }
        if state.now >= this.at {
            return Poll::Ready(());
        }
        state.timer_number += 1;
        let number = state.timer_number;
        state.timers.insert((this.at, number), context.waker().clone());
        this.asked = Some(number);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.asked.take() {
            // The waker is dropped without the lock: it may be the last handle on its task.
            let waker = self.world.lock().timers.remove(&(self.at, number));
            drop(waker);
        }
    }
}
