//! Keylane under faults: three worker processes over a broker and a store, a driver that publishes and
//! injects faults from a seed, and a checker that accounts for every event.
//!
//! In reading order: [`workload`] is what is published and how handlers behave; [`plan`] draws the faults;
//! `worker` is the process that the driver starts several of, [`turns`] the lines that it leaves; `broker`
//! and `store` are what differs from pair to pair; [`driver`] runs it all; [`check`] judges what is left.

pub mod broker;
pub mod check;
pub mod clock;
pub mod driver;
pub mod plan;
pub mod report;
mod servers;
pub mod store;
pub mod turns;
pub mod worker;
pub mod workload;

/// The one subscription.
pub const SUBSCRIPTION: &str = "chaos";
