//! The environment of a real service: Tokio's timers and tasks, the system's clocks and chance.
#![expect(clippy::disallowed_methods, reason = "this file is where Env touches the outside world")]

use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasher, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{BoxFuture, Environment, Instant, Timestamp};

pub(super) struct TokioEnv {
    handle: Handle,
    origin: tokio::time::Instant,
    /// Cancelled by `abandon`; every task of the set is dropped then.
    abandoned: CancellationToken,
    chance: Mutex<SplitMix>,
    dedicated: AtomicU64,
}

impl TokioEnv {
    pub(super) fn new() -> Self {
        Self {
            handle: Handle::current(),
            origin: tokio::time::Instant::now(),
            abandoned: CancellationToken::new(),
            chance: Mutex::new(SplitMix(system_seed())),
            dedicated: AtomicU64::new(0),
        }
    }

    fn until_abandoned(&self, task: BoxFuture<'static, ()>) -> impl Future<Output = ()> + Send + 'static {
        let abandoned = self.abandoned.clone();
        async move {
            // Biased: an abandoned task must not get one more poll.
            tokio::select! { biased;
                () = abandoned.cancelled() => {}
                () = task => {}
            }
        }
    }
}

impl Environment for TokioEnv {
    fn now(&self) -> Instant {
        Instant::at(self.origin.elapsed())
    }

    fn wall(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let at = self.origin + deadline.since_origin().min(FAR);
        Box::pin(tokio::time::sleep_until(at))
    }

    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        drop(self.handle.spawn(self.until_abandoned(task)));
    }

    fn spawn_dedicated(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let task = self.until_abandoned(task);
        let number = self.dedicated.fetch_add(1, Ordering::Relaxed);
        let thread = std::thread::Builder::new().name(format!("keylane-{name}-{number}"));
        let started =
            thread.spawn(move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(task),
                Err(error) => tracing::error!(name, %error, "no runtime for a dedicated thread"),
            });
        if let Err(error) = started {
            tracing::error!(name, %error, "could not start a dedicated thread");
        }
    }

    fn random(&self) -> u64 {
        self.chance.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next()
    }

    fn stop_signal(&self) -> BoxFuture<'static, ()> {
        Box::pin(stop_signal())
    }

    fn abandon(&self) {
        self.abandoned.cancel();
    }
}

/// Farther than any deadline; keeps Tokio's own arithmetic from overflowing.
const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

async fn stop_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(mut term), Ok(mut interrupt)) => {
                tokio::select! { biased; _ = term.recv() => {} _ = interrupt.recv() => {} }
            }
            _ => std::future::pending().await,
        }
    }
    #[cfg(not(unix))]
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}

/// The operating system's own randomness, by way of the standard library's hash seeds.
fn system_seed() -> u64 {
    #[expect(clippy::disallowed_types, reason = "the one source of real chance")]
    let state = std::collections::hash_map::RandomState::new();
    let mut hasher: DefaultHasher = state.build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}

/// SplitMix64: small, fast, passes the usual batteries; nothing here is a secret.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
