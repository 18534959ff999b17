//! `memory`: whether what a worker holds grows with its backlog.
//!
//! The backlog lies in the embedded log, on disk. Each run is a process of its own that handles events with
//! order by key and ledger by id, and tells the most memory it ever held. Both backlogs are measured over
//! the same number of handled events: SQLite's page cache fills up with the rows of a ledger until it is at
//! its bound, whatever the backlog. A third arm handles all of the large one, and stands aside.

mod worker;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use keylane::broker::{Broker, Outgoing};
use keylane::{Env, event::Record};
use keylane_log::{Log, LogConfig};
use keylane_sqlite::Sqlite;

pub(crate) use worker::work;

use crate::keys::Spread;
use crate::measure::Cost;
use crate::orders::{self, orders};
use crate::report::{Measured, Report, Target};
use crate::{Broken, Plan};

const LARGE: u64 = 1_000_000;
/// Records a publication.
const PUBLISHED: usize = 1000;

pub(crate) fn run(plan: &Plan) -> Result<(), Broken> {
    let mut report = Report::new("memory", Target::AtMost(1.10));
    for spread in &plan.spreads {
        let large = plan.events.unwrap_or(LARGE);
        let small = large / 10;
        let folder = tempfile::tempdir()?;
        let logs = [(folder.path().join("small.db"), small), (folder.path().join("large.db"), large)];
        for (path, events) in &logs {
            publish(path, *spread, *events)?;
        }
        let [(small_log, _), (large_log, _)] = &logs;
        let arms = [
            ("backlog_small", small_log, small),
            ("backlog_large", large_log, small),
            ("backlog_large_whole", large_log, large),
        ];
        let mut held = [const { Vec::new() }; 3];
        for round in 1..=plan.rounds {
            for ((arm, log, events), held) in arms.iter().zip(&mut held) {
                let run = start_worker(log, *events, &format!("{arm}-{round}"))?;
                report.arm(*spread, arm, round, &run)?;
                held.push(run.rss.ok_or("a worker did not tell its memory")? as f64);
            }
        }
        let [small, same, whole] = held;
        let ratios = |of: &[f64]| of.iter().zip(&small).map(|(of, small)| of / small).collect::<Vec<_>>();
        report.aside(*spread, "backlog_large_whole", &ratios(&whole))?;
        report.ratios(*spread, "backlog_large", &ratios(&same), None)?;
    }
    report.end()
}

/// Fills a log that nobody has read.
fn publish(path: &Path, spread: Spread, events: u64) -> Result<(), Broken> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let config = LogConfig { path: path.display().to_string(), ..LogConfig::default() };
        let log = Log::on(Sqlite).open(config, &Env::tokio()).await?;
        let publisher = log.publisher().await?;
        for orders in orders(spread, events).chunks(PUBLISHED) {
            let records = orders.iter().map(orders::record);
            let batch = records.map(|record: Record| Outgoing { target: "orders".into(), record }).collect();
            for result in publisher.publish(batch).await {
                result?;
            }
        }
        publisher.close().await;
        log.close().await;
        Ok(())
    })
}

/// A worker that handles so many events as a group of its own.
fn start_worker(path: &Path, events: u64, group: &str) -> Result<Measured, Broken> {
    let mut worker = Command::new(std::env::current_exe()?);
    worker.args(["memory", "--drain"]).arg(path).args(["--events", &events.to_string(), "--group", group]);
    let output = worker.output()?;
    if !output.status.success() {
        return Err(format!("a worker failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let answer: worker::Answer = serde_json::from_slice(&output.stdout)?;
    let cost = Cost {
        wall: Duration::from_secs_f64(answer.seconds),
        cpu: Duration::from_secs_f64(answer.cpu_seconds),
    };
    Ok(Measured { rss: Some(answer.rss), ..Measured::new(events, cost) })
}
