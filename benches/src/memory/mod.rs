//! `memory`: whether what a worker holds grows with its backlog.
//!
//! The backlog lies in the embedded log, on disk. Each run is a process of its own that reads all of it
//! with order by key and ledger by id, and tells the most memory it ever held.

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
        let backlogs = [("backlog_small", large / 10), ("backlog_large", large)];
        let folder = tempfile::tempdir()?;
        let path = |arm: &str| folder.path().join(format!("{arm}.db"));
        for (arm, events) in backlogs {
            publish(&path(arm), *spread, events)?;
        }
        let mut ratios = Vec::with_capacity(plan.rounds);
        for round in 1..=plan.rounds {
            let mut held = [0.0; 2];
            for ((arm, events), held) in backlogs.iter().zip(&mut held) {
                let run = start_worker(&path(arm), *events, round)?;
                report.arm(*spread, arm, round, &run)?;
                *held = run.rss.ok_or("a worker did not tell its memory")? as f64;
            }
            ratios.push(held[1] / held[0]);
        }
        report.ratios(*spread, "backlog_large", &ratios, None)?;
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

/// A worker that handles the whole backlog as a group of its own.
fn start_worker(path: &Path, events: u64, round: usize) -> Result<Measured, Broken> {
    let mut worker = Command::new(std::env::current_exe()?);
    worker.args(["memory", "--drain"]).arg(path).args(["--events", &events.to_string()]);
    worker.args(["--group", &format!("round-{round}")]);
    let output = worker.output()?;
    if !output.status.success() {
        return Err(format!("a worker failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let answer: worker::Answer = serde_json::from_slice(&output.stdout)?;
    let cost = Cost {
        wall: Duration::from_secs_f64(answer.seconds),
        cpu: Duration::from_secs_f64(answer.cpu_seconds),
    };
    Ok(Measured { events, cost, rss: Some(answer.rss) })
}
