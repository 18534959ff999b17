//! Several workers on one paused clock: each has an environment of its own, and can die alone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keylane::Env;
use keylane::env::{BoxFuture, Environment, Instant, Timestamp};
use tokio_util::sync::CancellationToken;

/// Time that stands still unless everything waits for it. Clones share it.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    origin: tokio::time::Instant,
}

impl Clock {
    /// Stops the current test's clock.
    pub(crate) fn paused() -> Self {
        tokio::time::pause();
        Self { origin: tokio::time::Instant::now() }
    }

    /// An environment for one worker; equal numbers draw equal chances.
    pub(crate) fn env(self, number: u64) -> Env {
        let draws = AtomicU64::new(number << 32);
        Env::new(Paused { clock: self, draws, abandoned: CancellationToken::new() })
    }

    /// Lets this much time pass, or a little more.
    #[expect(clippy::disallowed_methods, reason = "this environment is made of Tokio's paused time")]
    pub(crate) async fn pass(self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Lets time pass until `done` says so.
    ///
    /// # Panics
    /// When an hour does not do.
    pub(crate) async fn until(self, what: &str, mut done: impl FnMut() -> bool) {
        for _ in 0..360_000 {
            if done() {
                return;
            }
            self.pass(Duration::from_millis(10)).await;
        }
        panic!("not within an hour of virtual time: {what}");
    }
}

struct Paused {
    clock: Clock,
    draws: AtomicU64,
    abandoned: CancellationToken,
}

impl Environment for Paused {
    fn now(&self) -> Instant {
        Instant::at(self.clock.origin.elapsed())
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_750_000_000_000) + self.clock.origin.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this environment is made of Tokio's paused time")]
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let far = Duration::from_secs(60 * 60 * 24 * 365);
        Box::pin(tokio::time::sleep_until(self.clock.origin + deadline.since_origin().min(far)))
    }

    #[expect(clippy::disallowed_methods, reason = "this environment is made of Tokio's tasks")]
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        let abandoned = self.abandoned.clone();
        drop(tokio::spawn(async move {
            // Biased: an abandoned task must not get one more poll.
            tokio::select! { biased;
                () = abandoned.cancelled() => {}
                () = task => {}
            }
        }));
    }

    fn spawn_dedicated(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.spawn(name, task);
    }

    fn random(&self) -> u64 {
        let mixed = self.draws.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed ^ (mixed >> 32)).wrapping_mul(0xBF58_476D_1CE4_E5B9)
    }

    fn stop_signal(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn abandon(&self) {
        self.abandoned.cancel();
    }
}
