//! Scopes under short numbers, and the numbers that SQLite knows: signed ones.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use keylane::Error;
use keylane::store::Scope;
use sqlx::SqliteConnection;

use crate::error::failed;
use crate::ledger;

/// The numbers of scopes that were seen; they never change. As many as subscriptions have sources.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    all: Mutex<BTreeMap<Scope, i64>>,
    /// Of these, those that are ready for leases.
    leased: Mutex<BTreeMap<Scope, i64>>,
}

impl Scopes {
    /// The scope's number; `None` when nothing of it was ever claimed or leased.
    pub(crate) async fn number(
        &self,
        connection: &mut SqliteConnection,
        scope: &Scope,
    ) -> Result<Option<i64>, Error> {
        if let Some(number) = self.all.lock().unwrap_or_else(PoisonError::into_inner).get(scope) {
            return Ok(Some(*number));
        }
        let number = find(connection, scope).await?;
        if let Some(number) = number {
            self.all.lock().unwrap_or_else(PoisonError::into_inner).insert(scope.clone(), number);
        }
        Ok(number)
    }

    /// The number of a scope whose keys are leased. The first time it gets one, a ledger, and the note that it is.
    pub(crate) async fn leased(
        &self,
        connection: &mut SqliteConnection,
        scope: &Scope,
    ) -> Result<i64, Error> {
        if let Some(number) = self.leased.lock().unwrap_or_else(PoisonError::into_inner).get(scope) {
            return Ok(*number);
        }
        let number = intern(connection, scope).await?;
        let noted = sqlx::query("UPDATE keylane_scopes SET leased = 1 WHERE id = ?1 AND NOT leased")
            .bind(number)
            .execute(&mut *connection)
            .await
            .map_err(|error| failed("could not note that a scope is leased", error))?;
        if noted.rows_affected() == 0 {
            // Noted, with its ledger, by a transaction that is over: this one may still roll back.
            self.leased.lock().unwrap_or_else(PoisonError::into_inner).insert(scope.clone(), number);
        } else {
            ledger::open(connection, &scope.subscription).await?;
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
