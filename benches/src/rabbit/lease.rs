//! `lease`: shared by many workers, where the store says who has a key, against a worker that is taken to be alone.
//!
//! Both arms keep the ledger by id in PostgreSQL, and their handlers do nothing; an event is over when its commit is
//! answered.

use std::time::Duration;

use keylane::{RawEvent, Routes, Runtime};
use keylane_postgres::Postgres;
use keylane_rabbitmq::RabbitMq;

use super::EVENTS;
use super::queue::{Queue, in_queue};
use crate::meter::METER;
use crate::orders::{orders_of_today, record};
use crate::postgres::{Schema, with_schema};
use crate::report::{Measured, Report, Target};
use crate::rounds::{Arm, against_first};
use crate::{Broken, Plan, watched};

const SILENCE: Duration = Duration::from_secs(60);

const CONFIGURATION: &str = r#"
[store.postgres]
url = "${URL}"
schema = "${SCHEMA}"

[broker.main.rabbitmq]
uri = "${URI}"

[subscription.orders]
source = "${QUEUE}"
lock = "${LOCK}"

[subscription.orders.event]
id = "header:ce_id"

[subscription.orders.rabbitmq]
delivery_limit = "none"
"#;

pub(crate) fn run(plan: &Plan) -> Result<(), Broken> {
    let mut report = Report::new("lease", Target::AtLeast(0.8));
    for spread in &plan.spreads {
        let orders = orders_of_today(*spread, plan.events.unwrap_or(EVENTS));
        let drain = |lock: &'static str| {
            in_queue(orders.iter().map(record), async |queue: &Queue| drain(queue, lock).await)
        };
        let arms =
            vec![Arm::new("keylane_local", || drain("local")), Arm::new("keylane_leases", || drain("store"))];
        against_first(&mut report, *spread, plan.rounds, arms)?;
    }
    report.end()
}

async fn drain(queue: &Queue, lock: &'static str) -> Result<Measured, Broken> {
    with_schema(async |schema: &Schema| {
        let (url, name) = (schema.url(), schema.name.clone());
        let (uri, source) = (queue.uri.clone(), queue.name.clone());
        let variables = move |asked: &str| match asked {
            "URL" => Some(url.clone()),
            "SCHEMA" => Some(name.clone()),
            "URI" => Some(uri.clone()),
            "QUEUE" => Some(source.clone()),
            "LOCK" => Some(lock.to_owned()),
            _ => None,
        };
        METER.expect(queue.events);
        let handle = Runtime::from_text(CONFIGURATION)
            .variables(variables)
            .store(Postgres::new())
            .store_layer(watched::watch)
            .broker(RabbitMq)
            .subscription("orders", Routes::new().all(nothing))
            .start()
            .await?;
        let cost = METER.cost(SILENCE).await?;
        handle.shutdown();
        handle.join().await?;
        Ok(Measured::new(queue.events, cost))
    })
    .await
}

/// The first one begins the run.
async fn nothing(_: RawEvent) {
    METER.begin();
}
