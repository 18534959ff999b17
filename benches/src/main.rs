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
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "rabbitmq")]
mod rabbit;
mod report;
mod rounds;
mod source;
mod sqlite;
mod watched;

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
    /// The full cycle on PostgreSQL with ledger and one row an event, in batches, against plain batched inserts.
    PgFull,
    /// The same event by event through `commit_with`, against a transaction an event over eight connections.
    PgCommitWith,
    /// The full cycle in batches, against a transaction an event over eight connections.
    PgNaive,
    /// What the database's server has to do for an event: CPU, log, round trips.
    PgCost,
    /// A whole runtime on Kafka with its positions in PostgreSQL, against one that keeps them nowhere.
    PgPosition,
    /// A whole runtime on RabbitMQ with leases in PostgreSQL, against one that is taken to be alone.
    Lease,
    /// A whole runtime on RabbitMQ that does nothing, against a plain consumer's loop.
    RabbitNoop,
    /// One event through everything when nothing else is there, against a commit of one row.
    Idle,
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
        Bench::SqliteFull => sqlite::full(&plan),
        Bench::SqliteCommitWith => sqlite::commit_with(&plan),
        Bench::KeyBound => key_bound::run(&plan),
        Bench::Memory => memory::run(&plan),
        #[cfg(feature = "kafka")]
        Bench::KafkaNoop => kafka_noop::run(&plan),
        #[cfg(feature = "postgres")]
        Bench::PgFull => postgres::full(&plan),
        #[cfg(feature = "postgres")]
        Bench::PgCommitWith => postgres::commit_with(&plan),
        #[cfg(feature = "postgres")]
        Bench::PgNaive => postgres::naive(&plan),
        #[cfg(feature = "postgres")]
        Bench::PgCost => postgres::cost(&plan),
        #[cfg(feature = "postgres")]
        Bench::Idle => postgres::idle(&plan),
        #[cfg(all(feature = "kafka", feature = "postgres"))]
        Bench::PgPosition => kafka_noop::position(&plan),
        #[cfg(feature = "rabbitmq")]
        Bench::RabbitNoop => rabbit::noop(&plan),
        #[cfg(all(feature = "postgres", feature = "rabbitmq"))]
        Bench::Lease => rabbit::lease(&plan),
        #[cfg(not(all(feature = "kafka", feature = "postgres", feature = "rabbitmq")))]
        bench => Err(absent(bench).into()),
    }
}

/// A bench that wants what was not compiled.
#[cfg(not(all(feature = "kafka", feature = "postgres", feature = "rabbitmq")))]
fn absent(bench: Bench) -> String {
    let features = match bench {
        Bench::KafkaNoop => "kafka",
        Bench::PgPosition => "kafka,postgres",
        Bench::RabbitNoop => "rabbitmq",
        Bench::Lease => "postgres,rabbitmq",
        _ => "postgres",
    };
    format!("this build lacks what the bench is about: add `--features {features}`")
}
