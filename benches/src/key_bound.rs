//! `key_bound`: how near a runtime comes to what its keys allow, with handlers that wait.
//!
//! No dispatcher that keeps keys in order can end sooner than its N places allow (n L / N), than the hottest
//! key's events one after the other (n1 L), or than all keys at once (n L / K). L is what the handlers
//! themselves measured, since a timer wakes late. The raw arm is that bound, and costs nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keylane::memory::Memory;
use keylane::{RawEvent, Routes, Runtime, State};

use crate::keys;
use crate::meter::METER;
use crate::orders::{self, KEYS};
use crate::report::{Measured, Report, Target};
use crate::source::Canned;
use crate::{Broken, Plan};

/// The handlers' waits in milliseconds, and so many events that a run takes a few seconds.
const WAITS: &[(u64, u64)] = &[(1, 40_000), (10, 8_000), (100, 1_600)];
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
            let orders = orders::orders(*spread, events);
            let mut ratios = Vec::with_capacity(plan.rounds);
            for round in 1..=plan.rounds {
                let (measured, took) =
                    wait_for_all(&orders::records(&orders), events, Duration::from_millis(*wait))?;
                let least = (events as f64 / CONCURRENCY.min(distinct) as f64).max(hottest as f64)
                    * took.as_secs_f64();
                report.arm(*spread, &arm, round, &measured)?;
                ratios.push(least / measured.cost.wall.as_secs_f64());
            }
            report.ratios(*spread, &arm, &ratios, None)?;
        }
    }
    report.end()
}

/// What all handlers together waited, in nanoseconds.
static WAITED: AtomicU64 = AtomicU64::new(0);

async fn wait(_: RawEvent, State(wait): State<Duration>) {
    let began = Instant::now();
    tokio::time::sleep(wait).await;
    WAITED.fetch_add(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

fn wait_for_all(
    records: &[Vec<keylane::event::Record>],
    events: u64,
    latency: Duration,
) -> Result<(Measured, Duration), Broken> {
    let source = Canned::new(records.to_vec());
    METER.expect(events);
    WAITED.store(0, Ordering::Relaxed);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let handle = Runtime::from_text(CONFIGURATION)
            .store(Memory::new())
            .broker(source)
            .subscription("orders", Routes::new().all(wait).with_state(latency))
            .start()
            .await?;
        let cost = METER.cost(SILENCE).await?;
        handle.shutdown();
        handle.join().await?;
        let mean = WAITED.load(Ordering::Relaxed) / events;
        Ok((Measured::new(events, cost), Duration::from_nanos(mean)))
    })
}
