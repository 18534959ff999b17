//! Scopes under short numbers, and the numbers that SQLite knows: signed ones.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use keylane::Error;
use keylane::store::Scope;
use sqlx::SqliteConnection;

use crate::error::failed;

/// The numbers of scopes that were seen; they never change. As many as subscriptions have sources.
#[derive(Debug, Default)]
pub(crate) struct Scopes(Mutex<BTreeMap<Scope, i64>>);

impl Scopes {
    /// The scope's number; `None` when no partition of it was ever claimed.
    pub(crate) async fn number(
        &self,
        connection: &mut SqliteConnection,
        scope: &Scope,
    ) -> Result<Option<i64>, Error> {
        if let Some(number) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(scope) {
            return Ok(Some(*number));
        }
        let number = find(connection, scope).await?;
        if let Some(number) = number {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(scope.clone(), number);
        }
        Ok(number)
    }
}

/// The scope's number, given to it where it had none. Not remembered: the transaction may roll back.
pub(crate) async fn intern(connection: &mut SqliteConnection, scope: &Scope) -> Result<i64, Error> {
    sqlx::query(
        "INSERT INTO keylane_scopes (subscription, broker, source) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    )
    .bind(&*scope.subscription)
    .bind(&*scope.broker)
    .bind(&*scope.source)
    .execute(&mut *connection)
    .await
    .map_err(|error| failed("could not write a scope", error))?;
    let number = find(connection, scope).await?;
    Ok(number.expect("a scope that was just written is there"))
}

async fn find(connection: &mut SqliteConnection, scope: &Scope) -> Result<Option<i64>, Error> {
    sqlx::query_scalar(
        "SELECT id FROM keylane_scopes WHERE subscription = ?1 AND broker = ?2 AND source = ?3",
    )
    .bind(&*scope.subscription)
    .bind(&*scope.broker)
    .bind(&*scope.source)
    .fetch_optional(connection)
    .await
    .map_err(|error| failed("could not read a scope", error))
}

/// Offsets, epochs and hashes keep their bits; no order of theirs is asked of SQL.
pub(crate) const fn signed(number: u64) -> i64 {
    number.cast_signed()
}

/// What [`signed`] made of a number.
pub(crate) const fn unsigned(number: i64) -> u64 {
    number.cast_unsigned()
}
