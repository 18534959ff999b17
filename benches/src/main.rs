//! Keylane measured as ratios against the raw client in the same run.
//!
//! `cargo run --release -p keylane-benches -- NAME` prints one JSON line per arm and round, one per ratio,
//! and last `{"bench":NAME,"ratio":…,"ratio_min":…,"ratio_max":…,"target":…}`: the median over the rounds of
//! the key distribution that is farthest from the target.

#[cfg(feature = "kafka")]
mod kafka_noop;
mod key_bound;
mod keys;
mod lanes;
mod measure;
mod memory;
mod meter;
mod orders;
mod report;
mod rounds;
mod source;
mod sqlite;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use keys::Spread;

/// What went wrong, for people.
type Broken = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(about = "Measures Keylane as ratios against the raw client in the same run.")]
struct Arguments {
    /// Which bench.
    bench: Bench,
    /// How events are spread over keys.
    #[arg(long, default_value = "both")]
    keys: Spreads,
    /// How often each arm runs; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Events a run. Left out: what suits the bench.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    events: Option<u64>,
    /// Only the arms whose name contains this, beside the one they are compared with.
    #[arg(long)]
    arm: Option<String>,
    /// What `memory` starts its workers with: the log to read.
    #[arg(long, hide = true, requires_all = ["group", "events"])]
    drain: Option<PathBuf>,
    /// The group that a worker of `memory` reads as.
    #[arg(long, hide = true)]
    group: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Bench {
    /// Our dispatcher against a map of mutexes with a task a message.
    Lanes,
    /// A whole runtime on Kafka that does nothing, against a plain consumer's loop.
    KafkaNoop,
    /// The full cycle with ledger and one row an event, in batches, against plain batched inserts.
    SqliteFull,
    /// The same event by event through `commit_with`, against a transaction an event.
    SqliteCommitWith,
    /// Handlers that wait, against what their keys allow.
    KeyBound,
    /// Memory at a large backlog, against a tenth of it.
    Memory,
}

#[derive(Clone, Copy, ValueEnum)]
enum Spreads {
    Uniform,
    Zipf,
    Both,
}

/// What every bench is told.
struct Plan {
    spreads: Vec<Spread>,
    rounds: usize,
    events: Option<u64>,
    arm: Option<String>,
}

impl Plan {
    fn wants(&self, arm: &str) -> bool {
        self.arm.as_deref().is_none_or(|wanted| arm.contains(wanted))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match measure_or_drain(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure_or_drain(arguments: Arguments) -> Result<(), Broken> {
    if let (Some(path), Some(group), Some(events)) = (arguments.drain, arguments.group, arguments.events) {
        return memory::work(&path, &group, events);
    }
    let plan = Plan {
        spreads: match arguments.keys {
            Spreads::Uniform => vec![Spread::Uniform],
            Spreads::Zipf => vec![Spread::Zipf],
            Spreads::Both => vec![Spread::Uniform, Spread::Zipf],
        },
        rounds: arguments.rounds.into(),
        events: arguments.events,
        arm: arguments.arm,
    };
    match arguments.bench {
        Bench::Lanes => lanes::run(&plan),
        Bench::KafkaNoop => run_kafka_noop(&plan),
        Bench::SqliteFull => sqlite::full(&plan),
        Bench::SqliteCommitWith => sqlite::commit_with(&plan),
        Bench::KeyBound => key_bound::run(&plan),
        Bench::Memory => memory::run(&plan),
    }
}

#[cfg(feature = "kafka")]
fn run_kafka_noop(plan: &Plan) -> Result<(), Broken> {
    kafka_noop::run(plan)
}

#[cfg(not(feature = "kafka"))]
fn run_kafka_noop(_: &Plan) -> Result<(), Broken> {
    Err("this build has no Kafka: add `--features kafka`".into())
}
