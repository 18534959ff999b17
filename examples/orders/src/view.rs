//! The view of orders, and the record of what was done to it: all that handlers write.

use keylane::event::Meta;
use keylane::{Failure, Tx};
use keylane_sqlite::Sqlite;
use sqlx::SqliteConnection;

/// One event's change of the view.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    event: String,
    kind: String,
    partition: u32,
    position: u64,
    order: String,
    version: u32,
    attempt: u32,
    what: What,
}

/// What changes.
#[derive(Debug, Clone)]
pub(crate) enum What {
    Created { customer: String, parcels: u32, cents: i64 },
    Paid { cents: i64, receipt: String },
    Shipped,
    Cancelled { refund_cents: i64 },
}

impl Change {
    pub(crate) fn new(meta: &Meta, attempt: u32, order: &str, version: u32, what: What) -> Self {
        Self {
            event: meta.id.to_string(),
            kind: meta.kind.to_string(),
            partition: meta.place.partition,
            position: meta.place.offset,
            order: order.to_owned(),
            version,
            attempt,
            what,
        }
    }
}

/// Writes one change, inside the transaction that commits its event.
pub(crate) async fn apply(mut tx: Tx<Sqlite>, change: Change) -> Result<(), Failure> {
    write(&mut tx, &change).await?;
    tx.done()
}

/// Writes those of a batch.
pub(crate) async fn apply_all(mut tx: Tx<Sqlite>, changes: Vec<Change>) -> Result<(), Failure> {
    for change in &changes {
        write(&mut tx, change).await?;
    }
    tx.done()
}

async fn write(tx: &mut SqliteConnection, change: &Change) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO order_effects (event_id, order_id, version, kind, partition, position, attempt)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(&change.event)
    .bind(&change.order)
    .bind(change.version)
    .bind(&change.kind)
    .bind(change.partition)
    .bind(change.position as i64)
    .bind(change.attempt)
    .execute(&mut *tx)
    .await?;
    // Upserts: where an earlier event of the order became a dead letter, the order is there in part.
    match &change.what {
        What::Created { customer, parcels, cents } => sqlx::query(
            "INSERT INTO orders (id, version, state, customer, parcels, cents) VALUES (?1, ?2, 'open', ?3, ?4, ?5)
             ON CONFLICT (id) DO UPDATE SET version = ?2, customer = ?3, parcels = ?4, cents = ?5",
        )
        .bind(&change.order)
        .bind(change.version)
        .bind(customer)
        .bind(parcels)
        .bind(cents),
        What::Paid { cents, receipt } => sqlx::query(
            "INSERT INTO orders (id, version, state, paid_cents, receipt) VALUES (?1, ?2, 'paid', ?3, ?4)
             ON CONFLICT (id) DO UPDATE SET version = ?2, state = 'paid', paid_cents = paid_cents + ?3, receipt = ?4",
        )
        .bind(&change.order)
        .bind(change.version)
        .bind(cents)
        .bind(receipt),
        What::Shipped => sqlx::query(
            "INSERT INTO orders (id, version, state, shipped) VALUES (?1, ?2, 'shipped', 1)
             ON CONFLICT (id) DO UPDATE SET version = ?2, state = 'shipped', shipped = shipped + 1",
        )
        .bind(&change.order)
        .bind(change.version),
        What::Cancelled { refund_cents } => sqlx::query(
            "INSERT INTO orders (id, version, state, refunded_cents) VALUES (?1, ?2, 'cancelled', ?3)
             ON CONFLICT (id) DO UPDATE SET version = ?2, state = 'cancelled', refunded_cents = refunded_cents + ?3",
        )
        .bind(&change.order)
        .bind(change.version)
        .bind(refund_cents),
    }
    .execute(&mut *tx)
    .await?;
    Ok(())
}
