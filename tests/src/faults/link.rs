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
    cut: Notify,
}

impl Link {
    /// Cuts it for this long: every call fails at once, also one that is under way and cares.
    pub fn cut(&self, env: &Env, time: Duration) {
        *self.lock() = env.now() + time;
        self.0.cut.notify_waiters();
    }

    /// True while it is cut.
    #[must_use]
    pub fn is_cut(&self, env: &Env) -> bool {
        env.now() < *self.lock()
    }

    /// Completes when it is cut after the first poll of this; cancel-safe.
    pub(super) async fn until_cut(&self) {
        self.0.cut.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Instant> {
        self.0.cut_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
