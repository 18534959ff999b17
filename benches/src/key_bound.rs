//! `key_bound`: how near a runtime comes to what its keys allow, with handlers that wait.
//!
//! No dispatcher that keeps keys in order can end sooner than its N places allow (all waits / N), than the
//! hottest key's events one after the other, or than all K keys at once (all waits / K). The waits are those
//! that the handlers measured themselves, since a timer wakes late. That least time is what is compared
//! with, and costs nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keylane::event::Record;
use keylane::memory::Memory;
use keylane::{RawEvent, Routes, Runtime, State};

use crate::keys;
use crate::meter::METER;
use crate::orders::{self, KEYS};
use crate::report::{Measured, Report, Target};
use crate::source::Canned;
use crate::{Broken, Plan};

/// The handlers' waits in milliseconds, and so many events that a run takes a few seconds.
const WAITS: &[(u64, u64)] = &[(1, 40_000), (10, 16_000), (100, 3_200)];
const CONCURRENCY: u64 = 64;
const SILENCE: Duration = Duration::from_secs(60);

const CONFIGURATION: &str = r#"
[store.memory]

[broker.main.canned]

[subscription.orders]
source = "orders"
concurrency = 64

[subscription.orders.ledger]
mode = "position"

[subscription.orders.retry]
on_exhausted = "stop"

# Turns are taken: the more keys are looked ahead at, the later the hottest one comes to its first turns. What is
# to be seen is the rate of a long run, in a run of seconds.
[subscription.orders.budget]
messages_max = 1024
"#;

pub(crate) fn run(plan: &Plan) -> Result<(), Broken> {
    let mut report = Report::new("key_bound", Target::AtLeast(0.95));
    for spread in &plan.spreads {
        for (wait, events) in WAITS {
            let arm = format!("keylane_{wait}ms");
            if !plan.wants(&arm) {
                continue;
            }
            let events = plan.events.unwrap_or(*events);
            let (hottest, distinct) = keys::hottest(&keys::draw(*spread, KEYS, events));
            let case = Case {
                records: orders::records(&orders::orders(*spread, events)),
                events,
                places: CONCURRENCY.min(distinct),
                hottest: keys::name(hottest).into(),
                wait: Duration::from_millis(*wait),
            };
            let mut ratios = Vec::with_capacity(plan.rounds);
            for round in 1..=plan.rounds {
                let (measured, least) = case.run()?;
                report.arm(*spread, &arm, round, &measured)?;
                ratios.push(least.as_secs_f64() / measured.cost.wall.as_secs_f64());
            }
            report.ratios(*spread, &arm, &ratios, None)?;
        }
    }
    report.end()
}

/// What all handlers together waited, and those of the hottest key, in nanoseconds.
static WAITED: AtomicU64 = AtomicU64::new(0);
static WAITED_HOTTEST: AtomicU64 = AtomicU64::new(0);

#[derive(Clone)]
struct Wait {
    wait: Duration,
    hottest: Arc<str>,
}

async fn wait(event: RawEvent, State(of): State<Wait>) {
    let began = Instant::now();
    tokio::time::sleep(of.wait).await;
    let waited = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    WAITED.fetch_add(waited, Ordering::Relaxed);
    if event.meta().key.as_deref() == Some(of.hottest.as_bytes()) {
        WAITED_HOTTEST.fetch_add(waited, Ordering::Relaxed);
    }
    METER.note();
}

/// Keys, and how long the handlers wait.
struct Case {
    records: Vec<Vec<Record>>,
    events: u64,
    places: u64,
    hottest: Arc<str>,
    wait: Duration,
}

impl Case {
    /// What a run took, and the least that it could have taken.
    fn run(&self) -> Result<(Measured, Duration), Broken> {
        let source = Canned::new(self.records.clone());
        METER.expect(self.events);
        WAITED.store(0, Ordering::Relaxed);
        WAITED_HOTTEST.store(0, Ordering::Relaxed);
        let state = Wait { wait: self.wait, hottest: self.hottest.clone() };
        let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let cost = threads.block_on(async {
            let handle = Runtime::from_text(CONFIGURATION)
                .store(Memory::new())
                .broker(source)
                .subscription("orders", Routes::new().all(wait).with_state(state))
                .start()
                .await?;
            let cost = METER.cost(SILENCE).await?;
            handle.shutdown();
            handle.join().await?;
            Ok::<_, Broken>(cost)
        })?;
        let all = WAITED.load(Ordering::Relaxed) / self.places;
        let least = all.max(WAITED_HOTTEST.load(Ordering::Relaxed));
        Ok((Measured::new(self.events, cost), Duration::from_nanos(least)))
    }
}
