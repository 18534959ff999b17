//! The worker's promise: until when it may rely on its session (rule S4).
//!
//! It counts from *before* the renewal was sent, by the larger of monotonic and wall time: a monotonic
//! clock may stand still while the machine is suspended. When the promise runs low nothing new starts;
//! when it has run out, what runs is dropped at its next await.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::env::{Env, Instant, Timestamp};

/// The moment before a renewal was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    now: Instant,
    wall: Timestamp,
}

impl Sent {
    pub(crate) fn now(env: &Env) -> Self {
        Self { now: env.now(), wall: env.wall() }
    }

    /// The larger of what the two clocks say has passed.
    fn age(self, env: &Env) -> Duration {
        if mutant!("s4-one-clock-only") {
            return env.now().since(self.now);
        }
        env.now().since(self.now).max(env.wall().since(self.wall))
    }
}

pub(crate) struct Promise {
    env: Env,
    lifetime: Duration,
    kept: Mutex<Kept>,
    /// Until when new work may start, by the monotonic clock alone: a cheap first look.
    start_until: AtomicU64,
    restored: Notify,
    /// How many were told to wait since the last renewal.
    denied: AtomicUsize,
    /// How many of those may not have been waiting yet when it came: each of them is woken once.
    owed: AtomicUsize,
}

struct Kept {
    sent: Option<Sent>,
    /// Cancelled when the promise runs out; a fresh one when it is restored.
    out: CancellationToken,
}

impl Promise {
    pub(crate) fn new(env: Env, lifetime: Duration) -> Self {
        let kept = Kept { sent: None, out: CancellationToken::new() };
        Self {
            env,
            lifetime,
            kept: Mutex::new(kept),
            start_until: AtomicU64::new(0),
            restored: Notify::new(),
            denied: AtomicUsize::new(0),
            owed: AtomicUsize::new(0),
        }
    }

    /// The store answered a renewal that was sent then.
    pub(crate) fn renewed(&self, sent: Sent) {
        let mut kept = self.lock();
        kept.sent = Some(sent);
        if kept.out.is_cancelled() {
            kept.out = CancellationToken::new();
        }
        let until = sent.now + self.lifetime.mul_f64(STARTS_WITHIN);
        self.start_until.store(nanos(until), Ordering::Release);
        self.owed.store(self.denied.swap(0, Ordering::AcqRel), Ordering::Release);
        drop(kept);
        self.restored.notify_waiters();
    }

    /// Looks at both clocks, once a round: a monotonic clock may have stood still meanwhile.
    pub(crate) fn look(&self) {
        let sent = self.lock().sent;
        if sent.is_none_or(|sent| sent.age(&self.env) >= self.lifetime.mul_f64(STARTS_WITHIN)) {
            self.start_until.store(0, Ordering::Release);
        }
    }

    /// True while new work may start: a quarter of the lifetime is left at least.
    pub(crate) fn may_start(&self, now: Instant) -> bool {
        let may = || nanos(now) < self.start_until.load(Ordering::Acquire);
        if may() {
            return true;
        }
        self.denied.fetch_add(1, Ordering::AcqRel);
        // Again, now that it counts: a renewal in between did not count it.
        may()
    }

    /// True while the worker may rely on its session. Reads both clocks.
    pub(crate) fn holds(&self) -> bool {
        self.lock().sent.is_some_and(|sent| sent.age(&self.env) < self.lifetime)
    }

    /// The token that what starts now is dropped by when the promise runs out.
    pub(crate) fn out(&self) -> CancellationToken {
        self.lock().out.clone()
    }

    /// Ends the promise at once: the session was lost, or its time has passed.
    pub(crate) fn end(&self) {
        let mut kept = self.lock();
        kept.sent = None;
        self.start_until.store(0, Ordering::Release);
        kept.out.cancel();
    }

    /// Looks at the clocks and ends the promise when its time has passed; called by the keeper, and by
    /// whoever finds that starting is no longer allowed.
    pub(crate) fn enforce(&self) {
        if !self.holds() && !mutant!("s4-promise-never-ends") {
            self.end();
        }
    }

    /// Completes when the promise was restored after [`may_start`](Self::may_start) said no, also when that was
    /// before a call of this; now and then once more. Cancel-safe.
    pub(crate) fn restored(&self) -> impl Future<Output = ()> + '_ {
        let restored = self.restored.notified();
        async move {
            let take = |owed: usize| owed.checked_sub(1);
            if self.owed.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_err() {
                restored.await;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of the lifetime in which new work may start.
const STARTS_WITHIN: f64 = 0.75;

fn nanos(at: Instant) -> u64 {
    u64::try_from(at.since_origin().as_nanos()).unwrap_or(u64::MAX)
}
