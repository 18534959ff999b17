//! Leases: keys of subscriptions without partitions, taken by admission, given back by commits.
//!
//! The file has one writer: who holds the write lock reads what stays true until its transaction ends, so
//! that no row has to be locked before a token is drawn (rule A4).

mod back;
mod take;
mod tell;

use keylane::store::{LeaseKey, LeaseRef, Scope};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

pub(crate) use back::{Held, give_back, held};
pub(crate) use take::take;
pub(crate) use tell::{contended, contended_among, freed, of_session};

use crate::scope::unsigned;

/// What a lease is read from, with its scope's names.
const COLUMNS: &str = "s.subscription, s.broker, s.source, l.key, l.token
    FROM keylane_leases l JOIN keylane_scopes s ON s.id = l.scope";

fn lease_key(row: &SqliteRow) -> LeaseKey {
    LeaseKey {
        scope: Scope {
            subscription: row.get::<String, _>("subscription").into(),
            broker: row.get::<String, _>("broker").into(),
            source: row.get::<String, _>("source").into(),
        },
        key: row.get::<Vec<u8>, _>("key").into(),
    }
}

fn lease_ref(row: &SqliteRow) -> LeaseRef {
    LeaseRef { lease: lease_key(row), token: unsigned(row.get("token")) }
}
