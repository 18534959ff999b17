//! `idle`: what one event through everything takes when nothing else is there, against a commit of one row and one
//! `SELECT 1` on a connection of its own.
//!
//! Events are to be sent at fixed times, and are measured from then, whatever held them up. Ours come by the broker in
//! memory, with the ledger by id and one row an event, and are over when their commit is answered. Keys play no part.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keylane::Env;
use keylane::broker::{Outgoing, Publisher};
use keylane::memory::MemoryBroker;
use keylane::{Routes, Runtime};
use sqlx::{Connection, PgConnection};
use tokio::runtime::Handle;

use super::{Schema, in_schema, ours};
use crate::keys::Spread;
use crate::measure::Stretch;
use crate::meter::METER;
use crate::orders::{Order, orders_of_today, record};
use crate::report::{Latency, Measured, Report, Target};
use crate::{Broken, Plan, watched};

const EVENTS: u64 = 500;
/// Far longer than an event takes.
const EVERY: Duration = Duration::from_millis(20);
/// A sleep ends late by less; the rest is waited for awake.
const AWAKE: Duration = Duration::from_micros(200);

const CONFIGURATION: &str = r#"
[store.postgres]
url = "${URL}"
schema = "${SCHEMA}"

[broker.main.memory]

[subscription.orders]
source = "orders"

[subscription.orders.event]
id = "header:ce_id"

[subscription.orders.retry]
on_exhausted = "stop"
"#;

pub(crate) fn run(plan: &Plan) -> Result<(), Broken> {
    let mut report = Report::new("idle", Target::AtMost(1.5));
    // One more, to begin with.
    let orders = orders_of_today(Spread::Uniform, plan.events.unwrap_or(EVENTS) + 1);
    let arms = ["keylane_commit_statement", "keylane_commit_with"];
    let mut ratios = arms.map(|_| Vec::with_capacity(plan.rounds));
    for round in 1..=plan.rounds {
        let raw = commit_and_select(&orders)?;
        report.arm(Spread::Uniform, "commit_and_select", round, &raw)?;
        let routes = [Routes::new().all(ours::state_one), Routes::new().all(ours::write_one)];
        for ((name, routes), ratios) in arms.iter().zip(routes).zip(&mut ratios) {
            let ours = through_everything(&orders, routes)?;
            report.arm(Spread::Uniform, name, round, &ours)?;
            if let (Some(raw), Some(ours)) = (raw.latency, ours.latency) {
                ratios.push(ours.p50_us / raw.p50_us);
            }
        }
    }
    for (name, ratios) in arms.iter().zip(&ratios) {
        report.ratios(Spread::Uniform, name, ratios, None)?;
    }
    report.end()
}

fn commit_and_select(orders: &[Order]) -> Result<Measured, Broken> {
    in_schema(async |schema: &Schema| {
        let mut connection = schema.connect().await?;
        let (orders, all) = (orders.to_vec(), orders);
        let here = Handle::current();
        let paced = tokio::task::spawn_blocking(move || {
            here.block_on(write_and_look(&mut connection, &orders[0]))?;
            let stretch = Stretch::begin();
            let mut waits = Vec::with_capacity(orders.len());
            pace(&orders[1..], |order, intended| {
                here.block_on(write_and_look(&mut connection, order))?;
                waits.push(intended.elapsed());
                Ok(())
            })?;
            let cost = stretch.end();
            here.block_on(connection.close())?;
            Ok::<_, Broken>(Measured {
                latency: latency(waits),
                ..Measured::new(orders.len() as u64 - 1, cost)
            })
        });
        let measured = paced.await??;
        schema.check(all).await?;
        Ok(measured)
    })
}

async fn write_and_look(connection: &mut PgConnection, order: &Order) -> Result<(), Broken> {
    sqlx::query("INSERT INTO effects VALUES ($1, $2)")
        .bind(&order.id)
        .bind(&order.key)
        .execute(&mut *connection)
        .await?;
    sqlx::query("SELECT 1").execute(connection).await?;
    Ok(())
}

fn through_everything(orders: &[Order], routes: Routes) -> Result<Measured, Broken> {
    in_schema(async |schema: &Schema| {
        let broker = MemoryBroker::new();
        broker.create("orders", 1);
        let publisher = broker.worker(&Env::tokio()).publisher().await?;
        // The first one finds all that has to be begun.
        METER.expect(1);
        publisher.publish(vec![outgoing(&orders[0])]).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        let handle = started(schema, broker, routes).await?;
        METER.cost(ours::SILENCE).await?;
        let events = orders.len() as u64 - 1;
        METER.expect(events);
        over().clear();
        let (rest, here) = (orders[1..].to_vec(), Handle::current());
        let sender = tokio::task::spawn_blocking(move || send(&here, &*publisher, &rest));
        let intended = sender.await??;
        let cost = METER.cost(ours::SILENCE).await?;
        handle.shutdown();
        handle.join().await?;
        schema.check(orders).await?;
        // All are of one partition and far apart, and so are over in the order in which they were sent.
        let waits =
            over().iter().zip(&intended).map(|(over, intended)| over.duration_since(*intended)).collect();
        Ok(Measured { latency: latency(waits), ..Measured::new(events, cost) })
    })
}

async fn started(schema: &Schema, broker: MemoryBroker, routes: Routes) -> Result<keylane::Handle, Broken> {
    let runtime: Runtime =
        ours::runtime(CONFIGURATION, schema, schema.url(), |store| watched::watch_with(store, note));
    Ok(runtime.broker(broker).subscription("orders", routes).start().await?)
}

/// Gives when each was to be sent.
fn send(here: &Handle, publisher: &dyn Publisher, orders: &[Order]) -> Result<Vec<Instant>, Broken> {
    let mut times = Vec::with_capacity(orders.len());
    pace(orders, |order, intended| {
        times.push(intended);
        for published in here.block_on(publisher.publish(vec![outgoing(order)])) {
            published?;
        }
        Ok(())
    })?;
    Ok(times)
}

/// Of one key: that two events change places is no part of this.
fn outgoing(order: &Order) -> Outgoing {
    Outgoing { target: "orders".into(), record: record(&Order { key: "order".to_owned(), ..order.clone() }) }
}

/// Calls for each order when its time has come, or at once when that is past. On a thread of its own: a runtime's timer
/// counts in milliseconds.
fn pace(orders: &[Order], mut send: impl FnMut(&Order, Instant) -> Result<(), Broken>) -> Result<(), Broken> {
    let mut intended = Instant::now();
    for order in orders {
        intended += EVERY;
        if let Some(left) = intended.checked_duration_since(Instant::now() + AWAKE) {
            std::thread::sleep(left);
        }
        while Instant::now() < intended {
            std::hint::spin_loop();
        }
        send(order, intended)?;
    }
    Ok(())
}

/// When events were over.
static OVER: Mutex<Vec<Instant>> = Mutex::new(Vec::new());

fn over() -> MutexGuard<'static, Vec<Instant>> {
    OVER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(events: u64) {
    let now = Instant::now();
    over().extend((0..events).map(|_| now));
    METER.note_all(events);
}

fn latency(mut waits: Vec<Duration>) -> Option<Latency> {
    waits.sort_unstable();
    let at = |hundredths: usize| Some(waits.get(waits.len() * hundredths / 100)?.as_secs_f64() * 1e6);
    Some(Latency { p50_us: at(50)?, p99_us: at(99)? })
}
