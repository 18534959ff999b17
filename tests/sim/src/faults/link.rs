//! A worker's way to a server, which can be cut.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keylane::Env;
use keylane::env::Instant;
use tokio::sync::Notify;

/// One worker's way to one server. Clones are handles on the same one.
#[derive(Debug, Clone, Default)]
pub struct Link(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    cut_until: Mutex<Instant>,
    mute_until: Mutex<Instant>,
    /// Until when every answer takes so long.
    slow: Mutex<(Instant, Duration)>,
    cut: Notify,
}

impl Link {
    /// Cuts it for this long: every call fails at once, also one that is under way and cares.
    pub fn cut(&self, env: &Env, time: Duration) {
        *lock(&self.0.cut_until) = env.now() + time;
        self.0.cut.notify_waiters();
    }

    /// For this long calls get no answer at all; then they fail.
    pub fn mute(&self, env: &Env, time: Duration) {
        *lock(&self.0.mute_until) = env.now() + time;
    }

    /// For this long every answer takes up to `by` longer.
    pub fn slow(&self, env: &Env, time: Duration, by: Duration) {
        *self.0.slow.lock().unwrap_or_else(PoisonError::into_inner) = (env.now() + time, by);
    }

    /// All is well again.
    pub fn mend(&self) {
        *lock(&self.0.cut_until) = Instant::default();
        *lock(&self.0.mute_until) = Instant::default();
        *self.0.slow.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::default(), Duration::ZERO);
    }

    /// The time that an answer takes beyond the usual.
    pub(super) async fn be_slow(&self, env: &Env) {
        let (until, by) = *self.0.slow.lock().unwrap_or_else(PoisonError::into_inner);
        if env.now() < until {
            let most = u64::try_from(by.as_micros()).unwrap_or(u64::MAX).max(1);
            env.sleep(Duration::from_micros(env.random() % most)).await;
        }
    }

    /// Waits where there is no answer; true when there was none.
    pub(super) async fn is_mute(&self, env: &Env) -> bool {
        let until = *lock(&self.0.mute_until);
        let mute = env.now() < until;
        if mute {
            env.sleep_until(until).await;
        }
        mute
    }

    /// True while it is cut.
    #[must_use]
    pub fn is_cut(&self, env: &Env) -> bool {
        env.now() < *lock(&self.0.cut_until)
    }

    /// Completes when it is cut after the first poll of this; cancel-safe.
    pub(super) async fn until_cut(&self) {
        self.0.cut.notified().await;
    }
}

fn lock(until: &Mutex<Instant>) -> MutexGuard<'_, Instant> {
    until.lock().unwrap_or_else(PoisonError::into_inner)
}
