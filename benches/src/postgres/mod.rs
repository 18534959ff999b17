//! The benches with PostgreSQL as the store: `pg_full`, `pg_commit_with`, `pg_naive`, `pg_cost`, `idle`.
//!
//! All arms of the first three leave the same rows behind, one of a ledger and one of the service's own for each
//! event, durable at each commit, and each run counts them at its end. A run has a schema of its own, and begins
//! behind a checkpoint.

mod cost;
mod idle;
mod ours;
mod plain;
mod relay;
mod schema;

use std::sync::Arc;

pub(crate) use cost::run as cost;
pub(crate) use idle::run as idle;
#[cfg(any(feature = "kafka", feature = "rabbitmq"))]
pub(crate) use schema::with_schema;
pub(crate) use schema::{Schema, in_schema};

use crate::keys::Spread;
use crate::orders::{Order, orders_of_today};
use crate::report::{Measured, Report, Target};
use crate::rounds::{Arm, against_first};
use crate::{Broken, Plan};

type Measure = fn(&Arc<[Order]>) -> Result<Measured, Broken>;

/// Events of a run.
const EVENTS: u64 = 200_000;
/// A transaction an event takes a while; the rate is the same over fewer of them.
const FEWER: usize = 10;

pub(crate) fn full(plan: &Plan) -> Result<(), Broken> {
    let mut report = Report::new("pg_full", Target::AtLeast(0.55));
    for spread in &plan.spreads {
        let orders = orders(plan, *spread);
        let batch = plain::best_batch(&orders)?;
        let arms = vec![
            Arm::new("unnest_inserts", || plain::batched(&orders, batch)),
            Arm::new("keylane_batches", || ours::batches(&orders)),
        ];
        against_first(&mut report, *spread, plan.rounds, arms)?;
    }
    report.end()
}

pub(crate) fn commit_with(plan: &Plan) -> Result<(), Broken> {
    let mut report = Report::new("pg_commit_with", Target::AtLeast(3.0));
    for spread in &plan.spreads {
        let orders = orders(plan, *spread);
        let few = few(&orders);
        let mut arms = vec![
            Arm::new("transaction_an_event", || plain::one_by_one(&few)),
            Arm::new("keylane_commit_with", || ours::commit_with(&orders)),
        ];
        let more: [(_, Measure); 3] = [
            ("keylane_commit_with_ahead", ours::commit_with_ahead),
            ("keylane_commit_statement", ours::commit_statement),
            ("keylane_commit_statement_ahead", ours::commit_statement_ahead),
        ];
        for (name, measure) in more.into_iter().filter(|(name, _)| plan.wants(name)) {
            let orders = orders.clone();
            arms.push(Arm::new(name, move || measure(&orders)));
        }
        against_first(&mut report, *spread, plan.rounds, arms)?;
    }
    report.end()
}

pub(crate) fn naive(plan: &Plan) -> Result<(), Broken> {
    let mut report = Report::new("pg_naive", Target::AtLeast(10.0));
    for spread in &plan.spreads {
        let orders = orders(plan, *spread);
        let few = few(&orders);
        let arms = vec![
            Arm::new("transaction_an_event", || plain::one_by_one(&few)),
            Arm::new("keylane_batches", || ours::batches(&orders)),
        ];
        against_first(&mut report, *spread, plan.rounds, arms)?;
    }
    report.end()
}

fn orders(plan: &Plan, spread: Spread) -> Arc<[Order]> {
    orders_of_today(spread, plan.events.unwrap_or(EVENTS)).into()
}

fn few(orders: &Arc<[Order]>) -> Arc<[Order]> {
    orders[..orders.len().div_ceil(FEWER)].into()
}
