//! The same rows by way of a whole runtime, from the first pull to the last commit.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keylane::store::Store;
use keylane::{Batch, Effects, Failure, Handle, Raw, RawEvent, Routes, Runtime, Tx, route};
use keylane_postgres::{Postgres, sql};

use super::{Schema, in_schema};
use crate::Broken;
use crate::meter::METER;
use crate::orders::{Order, records};
use crate::report::Measured;
use crate::source::Canned;
use crate::watched;

pub(super) const SILENCE: Duration = Duration::from_secs(60);
/// Events of one batch of ours.
const BATCH: usize = 1000;

/// Room for one batch that commits, one that is handled and some to choose from.
const CONFIGURATION: &str = r#"
[store.postgres]
url = "${URL}"
schema = "${SCHEMA}"

[broker.main.canned]

[subscription.orders]
source = "orders"
concurrency = 64

[subscription.orders.event]
id = "header:ce_id"

[subscription.orders.budget]
messages_max = 16384

[subscription.orders.retry]
on_exhausted = "stop"
"#;

/// One effect for a whole batch.
pub(super) fn batches(orders: &Arc<[Order]>) -> Result<Measured, Broken> {
    run(orders, CONFIGURATION, || Routes::new().all_batches(route(write_batch).at_most(BATCH)))
}

/// One effect an event.
pub(super) fn commit_with(orders: &Arc<[Order]>) -> Result<Measured, Broken> {
    run(orders, CONFIGURATION, || Routes::new().all(write_one))
}

/// The same where the handler says that it reads nothing that it writes.
pub(super) fn commit_with_ahead(orders: &Arc<[Order]>) -> Result<Measured, Broken> {
    run(orders, &ahead(), || Routes::new().all(write_one))
}

/// The same by statements, which travel with the commit.
pub(super) fn commit_statement(orders: &Arc<[Order]>) -> Result<Measured, Broken> {
    run(orders, CONFIGURATION, || Routes::new().all(state_one))
}

/// The same where the handler says that it reads nothing that it writes.
pub(super) fn commit_statement_ahead(orders: &Arc<[Order]>) -> Result<Measured, Broken> {
    run(orders, &ahead(), || Routes::new().all(state_one))
}

fn ahead() -> String {
    CONFIGURATION.replace("concurrency = 64", "concurrency = 64\nahead = true")
}

/// The cycle without effects, on the database at this address.
pub(super) async fn start_noop(schema: &Schema, url: String, source: Canned) -> Result<Handle, Broken> {
    let started = runtime(CONFIGURATION, schema, url, watched::watch)
        .broker(source)
        .subscription("orders", Routes::new().all(nothing))
        .start();
    Ok(started.await?)
}

/// A runtime on the schema, without a broker.
pub(super) fn runtime(
    configuration: &str,
    schema: &Schema,
    url: String,
    layer: impl Fn(Arc<dyn Store>) -> Arc<dyn Store> + Send + Sync + 'static,
) -> Runtime {
    let name = schema.name.clone();
    Runtime::from_text(configuration)
        .variables(move |asked| match asked {
            "URL" => Some(url.clone()),
            "SCHEMA" => Some(name.clone()),
            _ => None,
        })
        .store(Postgres::new())
        .store_layer(layer)
}

pub(super) async fn write_one(event: RawEvent, mut fx: Effects<Postgres>) -> Result<(), Failure> {
    let row = (event.meta().id.to_string(), event.meta().key_text());
    fx.commit_with(row, async |mut tx: Tx<Postgres>, (id, key): (String, Option<String>)| {
        sqlx::query("INSERT INTO effects VALUES ($1, $2)").bind(id).bind(key).execute(&mut *tx).await?;
        tx.done()
    });
    Ok(())
}

pub(super) async fn state_one(event: RawEvent, mut fx: Effects<Postgres>) {
    let insert = sql("INSERT INTO effects VALUES ($1, $2)");
    fx.commit_statement(insert.bind(&event.meta().id).bind(event.meta().key_text()));
}

async fn write_batch(batch: Batch<Bytes, Raw>, mut fx: Effects<Postgres>) -> Result<(), Failure> {
    let rows: (Vec<_>, Vec<_>) =
        batch.iter().map(|item| (item.meta().id.to_string(), item.meta().key_text())).unzip();
    fx.commit_with(rows, async |mut tx: Tx<Postgres>, (ids, keys): (Vec<String>, Vec<Option<String>>)| {
        sqlx::query("INSERT INTO effects SELECT * FROM unnest($1::text[], $2::text[])")
            .bind(ids)
            .bind(keys)
            .execute(&mut *tx)
            .await?;
        tx.done()
    });
    Ok(())
}

async fn nothing(_: RawEvent) {}

fn run(orders: &Arc<[Order]>, configuration: &str, routes: impl Fn() -> Routes) -> Result<Measured, Broken> {
    in_schema(async |schema: &Schema| {
        let source = Canned::new(records(orders));
        METER.expect(orders.len() as u64);
        let handle = runtime(configuration, schema, schema.url(), watched::watch)
            .broker(source)
            .subscription("orders", routes())
            .start()
            .await?;
        let cost = METER.cost(SILENCE).await?;
        handle.shutdown();
        handle.join().await?;
        schema.check(orders).await?;
        Ok(Measured::new(orders.len() as u64, cost))
    })
}
