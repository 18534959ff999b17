//! An order service on Keylane: publishes a workload with faults in it, handles it, keeps a view of
//! orders, and ends with an account that must add up. Killed at any moment and started again, it goes on
//! where it was.
//!
//! To learn from it, read `handlers` first; then `view`, what they write; then `service`, how the
//! runtime is put together. The rest is this job's own: [`workload`] and [`publish`] make the events,
//! [`journal`], `facts` and [`account`] check what became of them, `progress` and `report` show it.

mod account;
mod args;
mod chance;
mod events;
mod facts;
mod gateway;
mod handlers;
mod journal;
mod progress;
mod publish;
mod report;
mod run;
mod service;
mod topic;
mod trace;
mod view;
mod work;
mod workload;

use std::process::ExitCode;

use clap::Parser;
use keylane::Error;

use account::Account;
use args::{Args, Role};
use service::Service;
use work::Ended;

#[tokio::main]
async fn main() -> Result<ExitCode, Error> {
    let args = Args::parse();
    logs();
    let service = Service::open(&args).await?;
    if !args.quiet {
        report::title(&service);
    }
    if args.role == Role::Publish {
        publish::publish(&service, args.pace).await?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.role != Role::Account {
        if service.is_finished(&service.sample().await?).await? {
            report::remark("This run is over; its account once more. To begin anew: --fresh");
        } else if work::work(&service, &args).await? == Ended::Asked {
            report::remark("Stopped in order. Start it again, and it goes on where it was.");
            return Ok(ExitCode::SUCCESS);
        }
    }
    if args.role == Role::Work {
        return Ok(ExitCode::SUCCESS);
    }
    let facts = service.facts().await?;
    let account = Account::of(&facts);
    report::account(&facts, &account);
    Ok(if account.adds_up() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Logs where `RUST_LOG` asks for them; the bar gives way to lines then.
fn logs() {
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_default_env() {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
}
