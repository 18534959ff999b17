//! `kafka_noop`: a whole runtime on Kafka whose handler does nothing, against a plain consumer's loop.
//!
//! The topic is filled once a distribution. Each run reads it from its start in a group of its own, and is
//! timed from the first record to the last: joining a group and claiming are not what this is about.
//!
//! `pg_position` reads the same topic in the same way, with the positions in PostgreSQL or nowhere.

mod ours;
mod plain;
#[cfg(feature = "postgres")]
mod position;
mod topic;

#[cfg(feature = "postgres")]
pub(crate) use position::run as position;

use crate::report::{Report, Target};
use crate::rounds::{Arm, against_first};
use crate::{Broken, Plan};

const EVENTS: u64 = 1_000_000;
const PARTITIONS: i32 = 8;

pub(crate) fn run(plan: &Plan) -> Result<(), Broken> {
    let servers = servers()?;
    let events = plan.events.unwrap_or(EVENTS);
    let mut report = Report::new("kafka_noop", Target::AtLeast(0.85));
    for spread in &plan.spreads {
        let topic = topic::Topic::fill(&servers, *spread, events)?;
        let mut arms = vec![Arm::new("plain", || plain::read(&topic))];
        for store in ours::STORES {
            if plan.wants(store.arm) {
                arms.push(Arm::new(store.arm, || ours::read(&topic, store)));
            }
        }
        let ran = against_first(&mut report, *spread, plan.rounds, arms);
        topic.delete();
        ran?;
    }
    report.end()
}

fn servers() -> Result<String, Broken> {
    let named = std::env::var("KEYLANE_TEST_KAFKA");
    Ok(named
        .map_err(|_| "KEYLANE_TEST_KAFKA is not set: `tests/brokers/up` starts a server and prints it")?)
}
