//! The same rows without us: in batches over several connections, and a transaction an event.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::{Connection, PgConnection};

use super::{Schema, in_schema};
use crate::Broken;
use crate::measure::Stretch;
use crate::orders::Order;
use crate::report::Measured;

/// Those that our store has for commits unless it is told otherwise.
const CONNECTIONS: usize = 4;
/// Those of a service that writes event by event.
const CONNECTIONS_ONE_BY_ONE: usize = 8;
/// How large a batch may be: the best of these is what we are compared with.
const BATCHES: &[usize] = &[100, 500, 1000, 4000];

/// As the store's own.
const LEDGER: &str = "CREATE TABLE ledger (scope int NOT NULL, id bytea NOT NULL, hash uuid NOT NULL,
                                           PRIMARY KEY (scope, id))";

/// The size of a batch that is written fastest, found over a fifth of the events, twice each.
pub(super) fn best_batch(orders: &Arc<[Order]>) -> Result<usize, Broken> {
    let sample: Arc<[Order]> = orders[..orders.len().div_ceil(5)].into();
    let mut best = (0.0, BATCHES[0]);
    for _ in 0..2 {
        for batch in BATCHES {
            let rate = batched(&sample, *batch)?.rate();
            if rate > best.0 {
                best = (rate, *batch);
            }
        }
    }
    eprintln!("unnest_inserts: {} rows a batch over {CONNECTIONS} connections are fastest", best.1);
    Ok(best.1)
}

/// A transaction a batch, in it two statements for all rows.
pub(super) fn batched(orders: &Arc<[Order]>, batch: usize) -> Result<Measured, Broken> {
    run(orders, CONNECTIONS, Way::Batches(batch))
}

/// A transaction an event, in it two statements.
pub(super) fn one_by_one(orders: &Arc<[Order]>) -> Result<Measured, Broken> {
    run(orders, CONNECTIONS_ONE_BY_ONE, Way::OneByOne)
}

#[derive(Clone, Copy)]
enum Way {
    Batches(usize),
    OneByOne,
}

/// Every connection takes the next batch as soon as it is done with one.
fn run(orders: &Arc<[Order]>, connections: usize, way: Way) -> Result<Measured, Broken> {
    in_schema(async |schema: &Schema| {
        schema.execute(LEDGER.to_owned()).await?;
        let next = Arc::new(AtomicUsize::new(0));
        let mut open = Vec::with_capacity(connections);
        for _ in 0..connections {
            open.push(schema.connect().await?);
        }
        let stretch = Stretch::begin();
        let writers = open
            .into_iter()
            .map(|connection| tokio::spawn(write(connection, Arc::clone(orders), Arc::clone(&next), way)));
        for writer in writers.collect::<Vec<_>>() {
            writer.await??;
        }
        let cost = stretch.end();
        schema.check(orders).await?;
        Ok(Measured::new(orders.len() as u64, cost))
    })
}

async fn write(
    mut connection: PgConnection,
    orders: Arc<[Order]>,
    next: Arc<AtomicUsize>,
    way: Way,
) -> Result<(), Broken> {
    let size = if let Way::Batches(size) = way { size } else { 1 };
    while let Some(batch) = orders.chunks(size).nth(next.fetch_add(1, Ordering::Relaxed)) {
        match way {
            Way::Batches(_) => write_batch(&mut connection, batch).await?,
            Way::OneByOne => write_one(&mut connection, &batch[0]).await?,
        }
    }
    connection.close().await?;
    Ok(())
}

async fn write_batch(connection: &mut PgConnection, orders: &[Order]) -> Result<(), Broken> {
    let mut ids: Vec<Vec<u8>> = orders.iter().map(|order| key(&order.id)).collect();
    ids.sort_unstable();
    let mut tx = connection.begin().await?;
    sqlx::query(
        "INSERT INTO ledger SELECT 1, id, '07070707-0707-0707-0707-070707070707' FROM unnest($1::bytea[]) id
         ON CONFLICT DO NOTHING",
    )
    .bind(ids)
    .execute(&mut *tx)
    .await?;
    let ids: Vec<&str> = orders.iter().map(|order| order.id.as_str()).collect();
    let keys: Vec<&str> = orders.iter().map(|order| order.key.as_str()).collect();
    sqlx::query("INSERT INTO effects SELECT * FROM unnest($1::text[], $2::text[])")
        .bind(ids)
        .bind(keys)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

async fn write_one(connection: &mut PgConnection, order: &Order) -> Result<(), Broken> {
    let mut tx = connection.begin().await?;
    let new = sqlx::query(
        "INSERT INTO ledger VALUES (1, $1, '07070707-0707-0707-0707-070707070707') ON CONFLICT DO NOTHING",
    )
    .bind(key(&order.id))
    .execute(&mut *tx)
    .await?;
    if new.rows_affected() == 1 {
        sqlx::query("INSERT INTO effects VALUES ($1, $2)")
            .bind(&order.id)
            .bind(&order.key)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(())
}

/// As many bytes as the store keeps an id in.
fn key(id: &str) -> Vec<u8> {
    let digits = id.bytes().filter(u8::is_ascii_hexdigit).collect::<Vec<_>>();
    let digit =
        |digit: u8| (digit as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
    let bytes = digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1]));
    std::iter::once(0xFF).chain(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_takes_as_many_bytes_as_in_the_store() {
        let key = key("01900000-0000-7000-8000-0000000000ff");
        assert_eq!((key.len(), key[0], key[1], key[2], key[16]), (17, 0xFF, 0x01, 0x90, 0xFF));
    }
}
