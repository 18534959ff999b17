//! Counts what handlers finish, and times it from the first event to the last.
//!
//! One for the process, so that a handler needs nothing of its own to reach it: what is measured is the
//! runtime. One run at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::Broken;
use crate::measure::{Cost, Stretch};

/// The process's meter.
pub(crate) static METER: Meter = Meter::new();

pub(crate) struct Meter {
    handled: AtomicU64,
    expected: AtomicU64,
    run: Mutex<Run>,
    over: Notify,
}

struct Run {
    began: Option<Stretch>,
    cost: Option<Cost>,
}

impl Meter {
    const fn new() -> Self {
        Self {
            handled: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            run: Mutex::new(Run { began: None, cost: None }),
            over: Notify::const_new(),
        }
    }

    /// Begins anew; the run is over with the `expected`th event.
    pub(crate) fn expect(&self, expected: u64) {
        *self.run() = Run { began: None, cost: None };
        self.expected.store(expected, Ordering::Release);
        self.handled.store(0, Ordering::Release);
    }

    /// One event is handled.
    pub(crate) fn note(&self) {
        self.note_all(1);
    }

    /// So many events are handled.
    pub(crate) fn note_all(&self, n: u64) {
        let before = self.handled.fetch_add(n, Ordering::AcqRel);
        if before == 0 {
            self.run().began = Some(Stretch::begin());
        }
        let expected = self.expected.load(Ordering::Relaxed);
        if before < expected && before + n >= expected {
            let mut run = self.run();
            run.cost = run.began.map(|began| began.end());
            drop(run);
            self.over.notify_one();
        }
    }

    /// How many events were handled so far.
    pub(crate) fn handled(&self) -> u64 {
        self.handled.load(Ordering::Acquire)
    }

    /// Waits for the end of the run. An error when nothing was handled for `silence`.
    pub(crate) async fn cost(&self, silence: Duration) -> Result<Cost, Broken> {
        let mut seen = self.handled();
        loop {
            if let Some(cost) = self.run().cost {
                return Ok(cost);
            }
            if tokio::time::timeout(silence, self.over.notified()).await.is_err() {
                let now = self.handled();
                if now == seen {
                    let expected = self.expected.load(Ordering::Relaxed);
                    return Err(format!(
                        "{now} of {expected} events were handled, and then none for {silence:?}"
                    )
                    .into());
                }
                seen = now;
            }
        }
    }

    fn run(&self) -> std::sync::MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
