//! Keylane under faults, with real processes and real servers; see docs/reliability.md.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use keylane::{Error, ErrorKind};
use keylane_chaos::broker::BrokerKind;
use keylane_chaos::driver::{self, Options};
use keylane_chaos::plan::Plan;
use keylane_chaos::store::StoreKind;
use keylane_chaos::worker::{self, WorkerArgs};
use keylane_chaos::{report, workload};

/// Publishes events, handles them by three worker processes, injects faults, and accounts for every event.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// A worker: what the driver starts.
    Worker(WorkerArgs),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// The broker.
    #[arg(long, value_enum, default_value_t = BrokerKind::Log)]
    broker: BrokerKind,
    /// The store.
    #[arg(long, value_enum, default_value_t = StoreKind::Sqlite)]
    store: StoreKind,
    /// How many events are published, over the time that the faults take.
    #[arg(long, default_value_t = 10_000)]
    events: u64,
    /// How many faults are injected.
    #[arg(long, default_value_t = 10)]
    faults: usize,
    /// What events, faults and the conduct of handlers are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long a worker's session lives, in milliseconds.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1_000..=60_000))]
    session: u64,
    /// The folder for the evidence, which is emptied if an earlier run made it.
    #[arg(long)]
    evidence: Option<PathBuf>,
    /// Only print the plan.
    #[arg(long)]
    plan: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Error> {
    let args = Args::parse();
    logs();
    match args.role {
        Some(Role::Worker(worker)) => worker::work(worker).await.map(|()| ExitCode::SUCCESS),
        None => drive(args.run).await,
    }
}

async fn drive(run: Run) -> Result<ExitCode, Error> {
    driver::check(run.broker, run.store)?;
    let options = options(&run)?;
    let pair = format!("{}+{}", name(run.broker), name(run.store));
    println!("{pair}, seed {}, {} events, {} faults:", run.seed, run.events, run.faults);
    print!("{}", report::plan(&options.plan));
    if run.plan {
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nit takes {:.0}s and the drain:", options.plan.lasts().as_secs_f64());
    // Biased: what is done is done. Dropped, the run ends its workers and servers.
    let verdict = tokio::select! { biased;
        outcome = driver::run(&options) => outcome?.verdict,
        _ = tokio::signal::ctrl_c() => {
            return Err(Error::new(ErrorKind::Closed, "interrupted; workers and servers were ended"));
        }
    };
    for finding in verdict.findings.iter().take(20) {
        println!("{}: {}", finding.breach.name(), finding.about);
    }
    println!("evidence: {}", options.folder.display());
    println!("{}", report::json(&options, &pair, &verdict));
    Ok(if verdict.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn options(run: &Run) -> Result<Options, Error> {
    let session = Duration::from_millis(run.session);
    let program = std::env::current_exe().map_err(|error| {
        Error::new(ErrorKind::Config, "this program does not know its own file").with_source(error)
    })?;
    let name = format!("keylane-chaos-{}-{}-{}", name(run.broker), name(run.store), run.seed);
    Ok(Options {
        broker: run.broker,
        store: run.store,
        events: run.events,
        seed: run.seed,
        long: workload::LONG,
        plan: Plan::draw(run.seed, run.faults, &driver::kinds(run.broker, run.store), session),
        session,
        drain_max: Duration::from_secs(60),
        program,
        folder: run.evidence.clone().unwrap_or_else(|| std::env::temp_dir().join(name)),
        chatty: true,
    })
}

fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Logs where `RUST_LOG` asks for them, else warnings.
fn logs() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
}
