//! The same rows without us.

use sqlx::{Connection, SqliteConnection};

use super::{BATCH, EFFECTS, check, connect};
use crate::Broken;
use crate::measure::{Stretch, threads};
use crate::orders::Order;
use crate::report::Measured;

/// The store's own ledger table.
const LEDGER: &str =
    "CREATE TABLE ledger (scope INTEGER NOT NULL, id TEXT NOT NULL, payload_hash BLOB NOT NULL,
                      PRIMARY KEY (scope, id)) STRICT, WITHOUT ROWID";

/// What the payload's hash takes.
const HASH: [u8; 16] = [7; 16];

/// A transaction a batch, in it two statements for all rows.
pub(super) fn batched(orders: &[Order]) -> Result<Measured, Broken> {
    run(orders, async |connection| {
        for batch in orders.chunks(BATCH) {
            let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
            let ids: Vec<&str> = batch.iter().map(|order| order.id.as_str()).collect();
            sqlx::query("INSERT INTO ledger SELECT 1, value, ?2 FROM json_each(?1)")
                .bind(serde_json::to_string(&ids)?)
                .bind(&HASH[..])
                .execute(&mut *tx)
                .await?;
            let rows: Vec<(&str, &str)> =
                batch.iter().map(|order| (order.id.as_str(), order.key.as_str())).collect();
            sqlx::query("INSERT INTO effects SELECT value ->> 0, value ->> 1 FROM json_each(?1)")
                .bind(serde_json::to_string(&rows)?)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
        }
        Ok(())
    })
}

/// A transaction an event, in it two statements.
pub(super) fn one_by_one(orders: &[Order]) -> Result<Measured, Broken> {
    run(orders, async |connection| {
        for order in orders {
            let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query("INSERT INTO ledger VALUES (1, ?1, ?2)")
                .bind(&order.id)
                .bind(&HASH[..])
                .execute(&mut *tx)
                .await?;
            sqlx::query("INSERT INTO effects VALUES (?1, ?2)")
                .bind(&order.id)
                .bind(&order.key)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
        }
        Ok(())
    })
}

fn run(
    orders: &[Order],
    write: impl AsyncFn(&mut SqliteConnection) -> Result<(), Broken>,
) -> Result<Measured, Broken> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("plain.db");
    threads()?.block_on(async {
        let mut connection = connect(&path).await?;
        for table in [LEDGER, EFFECTS] {
            sqlx::query(table).execute(&mut connection).await?;
        }
        let stretch = Stretch::begin();
        write(&mut connection).await?;
        let cost = stretch.end();
        connection.close().await?;
        check(&path, orders).await?;
        Ok(Measured::new(orders.len() as u64, cost))
    })
}
