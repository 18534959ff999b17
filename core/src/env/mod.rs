//! The fourth edge: time, tasks and chance.
//!
//! The core reaches the outside world through [`Env`] and nothing else, so that a simulation can run
//! the real runtime: it decides which ready task goes on, how late it is, and what "random" means.
//! Every task of one runtime belongs to that runtime's `Env`: [`Env::abandon`] drops them all at their
//! current await, which is a crash; not polling them is a pause.

mod hash;
mod instant;
mod tokio_env;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

pub use hash::{Map, Set};
pub use instant::{Instant, Timestamp};

use crate::error::{Error, ErrorKind};

/// A boxed future that can move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What an environment provides. Implemented by [`Env::tokio`] and by simulators.
///
/// - `now` never goes back; it may stand still while the machine is suspended.
/// - `wall` may jump either way.
/// - `sleep_until` completes no earlier than its instant; dropping it cancels it.
/// - `spawn` never runs the task before it returns; the task is dropped by `abandon`.
/// - `spawn_dedicated` runs the task where no busy handler can delay it.
/// - `random` is the only source of chance; equal seeds give equal sequences in a simulation.
/// - `abandon` drops every task at its current await; `spawn` after it does nothing.
pub trait Environment: Send + Sync + 'static {
    /// Monotonic time since the environment began.
    fn now(&self) -> Instant;
    /// The calendar's time, in microseconds since 1970 UTC.
    fn wall(&self) -> Timestamp;
    /// Completes at `deadline` or later.
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()>;
    /// Starts a task in this environment's set.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>);
    /// Starts a task on a thread of its own (in a simulation: as any other task).
    fn spawn_dedicated(&self, name: &'static str, task: BoxFuture<'static, ()>);
    /// Sixty-four random bits.
    fn random(&self) -> u64;
    /// Completes when the process is asked to stop (SIGTERM or SIGINT); each call waits for a new one.
    fn stop_signal(&self) -> BoxFuture<'static, ()>;
    /// Drops all tasks of the set, as a crash would.
    fn abandon(&self);
}

/// A cheap handle on an [`Environment`].
#[derive(Clone)]
pub struct Env(Arc<dyn Environment>);

impl Env {
    /// An environment on the current Tokio runtime, with a task set of its own.
    ///
    /// # Panics
    /// When called outside a Tokio runtime.
    #[must_use]
    pub fn tokio() -> Self {
        Self(Arc::new(tokio_env::TokioEnv::new()))
    }

    /// Any other environment, such as a simulator's.
    pub fn new(environment: impl Environment) -> Self {
        Self(Arc::new(environment))
    }

    /// See [`Environment::now`].
    #[must_use]
    pub fn now(&self) -> Instant {
        self.0.now()
    }

    /// See [`Environment::wall`].
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        self.0.wall()
    }

    /// Waits for `duration`; cancel by dropping.
    pub fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.0.sleep_until(self.0.now() + duration)
    }

    /// Waits until `deadline`; cancel by dropping.
    pub fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        self.0.sleep_until(deadline)
    }

    /// Runs `future` for at most `limit`; past it the future is dropped at its current await.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`], naming `what` and the limit.
    pub async fn timeout<T>(
        &self,
        what: &'static str,
        limit: Duration,
        future: impl Future<Output = T>,
    ) -> Result<T, Error> {
        let mut future = pin!(future);
        let mut timer = self.sleep(limit);
        // Biased: work that is ready is taken even when its time is just up.
        tokio::select! { biased;
            value = &mut future => Ok(value),
            () = &mut timer => Err(Error::new(ErrorKind::Timeout, format!("{what} took longer than {limit:?}"))),
        }
    }

    /// See [`Environment::spawn`].
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(name, Box::pin(task));
    }

    /// See [`Environment::spawn_dedicated`].
    pub fn spawn_dedicated(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn_dedicated(name, Box::pin(task));
    }

    /// See [`Environment::random`].
    #[must_use]
    pub fn random(&self) -> u64 {
        self.0.random()
    }

    /// A random number in `0.0..1.0`.
    #[must_use]
    pub fn random_unit(&self) -> f64 {
        // 53 bits: what a double holds exactly.
        (self.random() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A UUIDv7 of this environment's time and chance.
    #[must_use]
    pub fn uuid(&self) -> uuid::Uuid {
        let millis = u64::try_from(self.wall().as_micros().max(0) / 1000).unwrap_or(0);
        let mut random = [0u8; 10];
        random[..8].copy_from_slice(&self.random().to_le_bytes());
        random[8..].copy_from_slice(&self.random().to_le_bytes()[..2]);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    /// See [`Environment::stop_signal`].
    pub fn stop_signal(&self) -> BoxFuture<'static, ()> {
        self.0.stop_signal()
    }

    /// See [`Environment::abandon`].
    pub fn abandon(&self) {
        self.0.abandon();
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Env")
    }
}
