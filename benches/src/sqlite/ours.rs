//! The same rows by way of a whole runtime, from the first pull to the last commit.

use std::time::Duration;

use bytes::Bytes;
use keylane::{Batch, Effects, Failure, Raw, RawEvent, Routes, Runtime, Tx, route};
use keylane_sqlite::Sqlite;
use sqlx::Connection;

use super::{BATCH, EFFECTS, check, connect};
use crate::Broken;
use crate::measure::threads;
use crate::meter::METER;
use crate::orders::{Order, records};
use crate::report::Measured;
use crate::source::Canned;
use crate::watched;

const SILENCE: Duration = Duration::from_secs(60);

/// Room for one batch that commits, one that is handled and some to choose from.
const CONFIGURATION: &str = r#"
[store.sqlite]
path = "${PATH_OF_STORE}"

[broker.main.canned]

[subscription.orders]
source = "orders"
concurrency = 64

[subscription.orders.event]
id = "header:ce_id"

[subscription.orders.budget]
messages_max = 8192

[subscription.orders.retry]
on_exhausted = "stop"
"#;

/// One effect for a whole batch.
pub(super) fn batches(orders: &[Order]) -> Result<Measured, Broken> {
    run(orders, CONFIGURATION, Routes::new().all_batches(route(write_batch).at_most(BATCH)))
}

/// One effect an event.
pub(super) fn commit_with(orders: &[Order]) -> Result<Measured, Broken> {
    run(orders, CONFIGURATION, Routes::new().all(write_one))
}

/// The same where the handler says that it reads nothing that it writes.
pub(super) fn commit_with_ahead(orders: &[Order]) -> Result<Measured, Broken> {
    let configuration = CONFIGURATION.replace("concurrency = 64", "concurrency = 64\nahead = true");
    run(orders, &configuration, Routes::new().all(write_one))
}

async fn write_batch(batch: Batch<Bytes, Raw>, mut fx: Effects<Sqlite>) -> Result<(), Failure> {
    let rows: Vec<_> =
        batch.iter().map(|item| (item.meta().id.to_string(), item.meta().key_text())).collect();
    fx.commit_with(serde_json::to_string(&rows)?, async |mut tx: Tx<Sqlite>, rows: String| {
        sqlx::query("INSERT INTO effects SELECT value ->> 0, value ->> 1 FROM json_each(?1)")
            .bind(rows)
            .execute(&mut *tx)
            .await?;
        tx.done()
    });
    Ok(())
}

async fn write_one(event: RawEvent, mut fx: Effects<Sqlite>) -> Result<(), Failure> {
    let row = (event.meta().id.to_string(), event.meta().key_text());
    fx.commit_with(row, async |mut tx: Tx<Sqlite>, (id, key): (String, Option<String>)| {
        sqlx::query("INSERT INTO effects VALUES (?1, ?2)").bind(id).bind(key).execute(&mut *tx).await?;
        tx.done()
    });
    Ok(())
}

fn run(orders: &[Order], configuration: &str, routes: Routes) -> Result<Measured, Broken> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("ours.db");
    let source = Canned::new(records(orders));
    METER.expect(orders.len() as u64);
    threads()?.block_on(async {
        let mut connection = connect(&path).await?;
        sqlx::query(EFFECTS).execute(&mut connection).await?;
        connection.close().await?;
        let text = path.display().to_string();
        let handle = Runtime::from_text(configuration)
            .variables(move |asked| (asked == "PATH_OF_STORE").then(|| text.clone()))
            .store(Sqlite)
            .store_layer(watched::watch)
            .broker(source)
            .subscription("orders", routes)
            .start()
            .await?;
        let cost = METER.cost(SILENCE).await?;
        handle.shutdown();
        handle.join().await?;
        check(&path, orders).await?;
        Ok(Measured::new(orders.len() as u64, cost))
    })
}
