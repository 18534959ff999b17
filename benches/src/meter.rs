//! Counts the events that are over, and times them from the first event to the last.
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
    over: AtomicU64,
    expected: AtomicU64,
    run: Mutex<Run>,
    ended: Notify,
}

struct Run {
    began: Option<Stretch>,
    cost: Option<Cost>,
}

impl Meter {
    const fn new() -> Self {
        Self {
            over: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            run: Mutex::new(Run { began: None, cost: None }),
            ended: Notify::const_new(),
        }
    }

    /// Begins anew; the run is over with the `expected`th event.
    pub(crate) fn expect(&self, expected: u64) {
        *self.run() = Run { began: None, cost: None };
        self.expected.store(expected, Ordering::Release);
        self.over.store(0, Ordering::Release);
    }

    /// The first event is there.
    pub(crate) fn begin(&self) {
        self.run().began.get_or_insert_with(Stretch::begin);
    }

    /// One event is over.
    pub(crate) fn note(&self) {
        self.note_all(1);
    }

    /// So many events are over.
    pub(crate) fn note_all(&self, n: u64) {
        let before = self.over.fetch_add(n, Ordering::AcqRel);
        if before == 0 {
            self.begin();
        }
        let expected = self.expected.load(Ordering::Relaxed);
        if before < expected && before + n >= expected {
            let mut run = self.run();
            run.cost = run.began.map(|began| began.end());
            drop(run);
            self.ended.notify_one();
        }
    }

    /// How many events are over so far.
    pub(crate) fn over(&self) -> u64 {
        self.over.load(Ordering::Acquire)
    }

    /// Waits for the end of the run. An error when no event ended for `silence`.
    pub(crate) async fn cost(&self, silence: Duration) -> Result<Cost, Broken> {
        let mut seen = self.over();
        loop {
            if let Some(cost) = self.run().cost {
                return Ok(cost);
            }
            if tokio::time::timeout(silence, self.ended.notified()).await.is_err() {
                let now = self.over();
                if now == seen {
                    let expected = self.expected.load(Ordering::Relaxed);
                    return Err(
                        format!("{now} of {expected} events ended, and then none for {silence:?}").into()
                    );
                }
                seen = now;
            }
        }
    }

    fn run(&self) -> std::sync::MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
