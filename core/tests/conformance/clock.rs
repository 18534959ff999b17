//! Virtual time: Tokio's paused clock, and a calendar that goes with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keylane::env::{BoxFuture, Environment, Instant, Timestamp};

/// An environment whose sleeps take no time, on the current test's runtime.
pub(crate) struct Virtual {
    origin: tokio::time::Instant,
    draws: AtomicU64,
}

impl Virtual {
    /// Stops the current thread's clock.
    pub(crate) fn new() -> Self {
        tokio::time::pause();
        Self { origin: tokio::time::Instant::now(), draws: AtomicU64::new(0) }
    }
}

impl Environment for Virtual {
    fn now(&self) -> Instant {
        Instant::at(self.origin.elapsed())
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_750_000_000_000) + self.origin.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this environment is made of Tokio's paused time")]
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let far = Duration::from_secs(60 * 60 * 24 * 365);
        Box::pin(tokio::time::sleep_until(self.origin + deadline.since_origin().min(far)))
    }

    #[expect(clippy::disallowed_methods, reason = "this environment is made of Tokio's tasks")]
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        drop(tokio::spawn(task));
    }

    fn spawn_dedicated(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.spawn(name, task);
    }

    fn random(&self) -> u64 {
        // Distinct is random enough for ids in a check; SplitMix64's increment spreads the bits.
        self.draws.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn stop_signal(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn abandon(&self) {}
}
