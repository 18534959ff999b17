//! What can be asked for on the command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// An order service on Keylane: publishes a workload with faults, handles it, and ends with an account
/// that must add up. Kill it whenever you like, and start it again.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// The folder for what is to last: log, view and all that the runtime remembers.
    #[arg(long, value_name = "DIR", default_value = "orders-data")]
    pub(crate) data: PathBuf,

    /// Another configuration than the built-in one: `examples/orders/kafka.toml` runs the same on Kafka.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// How many orders there are [default: 5000].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(crate) orders: Option<u32>,

    /// What the workload and its faults are made from [default: 7].
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u32>,

    /// Begin anew: forget what the folder holds of an earlier run.
    #[arg(long)]
    pub(crate) fresh: bool,

    /// Which part of the job to do; several processes may share it, on one folder.
    #[arg(long, value_enum, default_value_t = Role::All)]
    pub(crate) role: Role,

    /// Publish no more than so many events a second, to look on for longer.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(10..))]
    pub(crate) pace: Option<u32>,

    /// Append a line here whenever a handler starts or stops.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,

    /// No progress, only the account.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// A part of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Publish, handle, and account for it.
    All,
    /// Publish the workload.
    Publish,
    /// Handle events until all of the workload is handled.
    Work,
    /// Check the account of what lies there.
    Account,
}
