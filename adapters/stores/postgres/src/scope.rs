//! Scopes under short numbers.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use keylane::store::Scope;
use keylane::{Error, ErrorKind};
use sqlx::Row;

use crate::database::Database;

/// The numbers of scopes that were seen; they never change. As many as subscriptions have sources.
#[derive(Debug, Default)]
pub(crate) struct Scopes(Mutex<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    by_scope: BTreeMap<Scope, i32>,
    by_number: BTreeMap<i32, Scope>,
}

impl Scopes {
    /// The scope's number, given to it where it had none; then its ledger is opened as well.
    pub(crate) async fn number(&self, database: &Database, scope: &Scope) -> Result<i32, Error> {
        if let Some(number) = self.known(scope) {
            return Ok(number);
        }
        let mut link = database.work().await?;
        let interned = async {
            link.begin_if_needed().await?;
            let sql = database.sql("SELECT {keylane}.intern($1, $2, $3)");
            let number: Result<i32, _> = sql
                .scalar()
                .bind(&*scope.subscription)
                .bind(&*scope.broker)
                .bind(&*scope.source)
                .fetch_one(&mut *link)
                .await;
            number.map_err(|error| link.broke("could not write a scope", error))
        };
        let interned = interned.await;
        let number = link.end(interned).await?;
        self.note(scope, number);
        Ok(number)
    }

    /// The numbers of several.
    pub(crate) async fn numbers(
        &self,
        database: &Database,
        scopes: impl Iterator<Item = &Scope>,
    ) -> Result<Vec<i32>, Error> {
        let mut numbers = Vec::new();
        for scope in scopes {
            numbers.push(self.number(database, scope).await?);
        }
        Ok(numbers)
    }

    /// The scope of a number.
    pub(crate) async fn scope(&self, database: &Database, number: i32) -> Result<Scope, Error> {
        if let Some(scope) = self.locked().by_number.get(&number) {
            return Ok(scope.clone());
        }
        let mut link = database.work().await?;
        let read = async {
            link.begin_if_needed().await?;
            let sql = database.sql("SELECT subscription, broker, source FROM {keylane}.scopes WHERE id = $1");
            let row = sql.query().bind(number).fetch_optional(&mut *link).await;
            row.map_err(|error| link.broke("could not read a scope", error))
        };
        let read = read.await;
        let row = link.end(read).await?;
        let row = row.ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("there is no scope {number}")))?;
        let scope = Scope {
            subscription: row.get::<String, _>("subscription").into(),
            broker: row.get::<String, _>("broker").into(),
            source: row.get::<String, _>("source").into(),
        };
        self.note(&scope, number);
        Ok(scope)
    }

    fn known(&self, scope: &Scope) -> Option<i32> {
        self.locked().by_scope.get(scope).copied()
    }

    fn note(&self, scope: &Scope, number: i32) {
        let mut numbers = self.locked();
        numbers.by_scope.insert(scope.clone(), number);
        numbers.by_number.insert(number, scope.clone());
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Numbers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
