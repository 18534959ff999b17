//! `rabbit_noop`, a whole runtime on RabbitMQ whose handler does nothing, against the fastest plain loop; and `lease`,
//! what leases of keys cost there.
//!
//! Every run drains a quorum queue of its own that was filled before, and is timed from the first event to the last.
//! Afterwards the queue must be empty.

#[cfg(feature = "postgres")]
mod lease;
mod noop;
mod plain;
mod queue;

#[cfg(feature = "postgres")]
pub(crate) use lease::run as lease;

use queue::{in_queue, records_without_headers};

use crate::orders::orders;
use crate::report::{Report, Target};
use crate::rounds::{Arm, against_first};
use crate::{Broken, Plan};

const EVENTS: u64 = 200_000;

pub(crate) fn noop(plan: &Plan) -> Result<(), Broken> {
    let mut report = Report::new("rabbit_noop", Target::AtLeast(0.80));
    for spread in &plan.spreads {
        let orders = orders(*spread, plan.events.unwrap_or(EVENTS));
        let records = || records_without_headers(&orders);
        let arms = vec![
            Arm::new("plain", || in_queue(records(), plain::drain)),
            Arm::new("keylane_local", || in_queue(records(), noop::drain)),
        ];
        against_first(&mut report, *spread, plan.rounds, arms)?;
    }
    report.end()
}
