//! Statements of handlers that stand prepared on a connection, so that a text of ours can run them by name.

use keylane::Failure;
use keylane::event::PayloadHash;
use sqlx::{AssertSqlSafe, SqlStr};
use uuid::Uuid;

use super::Link;
use crate::error::is_lost;
use crate::statement::Statement;

/// So many stay on one connection; a service has a few texts, unless it makes them up.
const KEPT_MAX: usize = 256;

/// So many are prepared for one commit, each in a round trip of its own.
const NEW_MAX: usize = 32;

/// What stands prepared, texts and names; `None` where that is not known.
#[derive(Debug, Default)]
pub(crate) struct Prepared(Option<Vec<(SqlStr, String)>>);

/// Why a statement is not ready.
pub(crate) enum Unready {
    /// It is not taken, and would not be the next time.
    Refused(Failure),
    /// Too many texts are new.
    Many,
    /// The connection is lost.
    Lost(sqlx::Error),
}

impl Link<'_> {
    /// What runs these statements, each prepared on this connection, if need be now.
    pub(crate) async fn executes<'s>(
        &mut self,
        statements: impl Iterator<Item = &'s Statement>,
    ) -> Result<Vec<String>, Unready> {
        if self.prepared().0.is_none() || self.known() >= KEPT_MAX {
            self.throw_all_away().await.map_err(Unready::Lost)?;
        }
        let before = self.known();
        let mut executes = Vec::new();
        for statement in statements {
            executes.push(self.execute(statement).await?);
            if self.known() - before > NEW_MAX {
                return Err(Unready::Many);
            }
        }
        Ok(executes)
    }

    /// What stands ready is not known any more: a write may have thrown it away, or what it is about was changed.
    pub(crate) fn forget_prepared(&mut self) {
        self.prepared().0 = None;
    }

    fn known(&mut self) -> usize {
        self.prepared().0.as_ref().map_or(0, Vec::len)
    }

    async fn execute(&mut self, statement: &Statement) -> Result<String, Unready> {
        let text = statement.text();
        let mut known = self.prepared().0.iter().flatten();
        if let Some((_, name)) = known.find(|(known, _)| known.as_str() == text.as_str()) {
            return statement.execute(name).map_err(Unready::Refused);
        }
        let name = Uuid::from_bytes(PayloadHash::of(text.as_str().as_bytes()).0);
        let name = format!("keylane_{}", name.simple());
        let executes = statement.execute(&name).map_err(Unready::Refused)?;
        self.prepare(&name, text).await.map_err(|error| match is_lost(&error) {
            true => Unready::Lost(error),
            false => Unready::Refused(statement.failure(&error)),
        })?;
        self.prepared().0.get_or_insert_default().push((text.clone(), name));
        Ok(executes)
    }

    /// By a message that takes one statement, so that a text with several in it is refused.
    async fn prepare(&mut self, name: &str, text: &SqlStr) -> Result<(), sqlx::Error> {
        let prepare = AssertSqlSafe(format!("PREPARE {name} AS {}", text.as_str()));
        sqlx::query(prepare).persistent(false).execute(&mut **self).await.map(drop)
    }

    /// Also what was prepared before the connection was ours: behind a pooler it was another's.
    async fn throw_all_away(&mut self) -> Result<(), sqlx::Error> {
        let names = "SELECT name FROM pg_prepared_statements WHERE name ~ '^keylane_[0-9a-f]{32}$'";
        let names: Vec<String> = sqlx::query_scalar(names).persistent(false).fetch_all(&mut **self).await?;
        if !names.is_empty() {
            let sql: Vec<_> = names.iter().map(|name| format!("DEALLOCATE {name}")).collect();
            sqlx::raw_sql(AssertSqlSafe(sql.join(";"))).execute(&mut **self).await?;
        }
        self.prepared().0 = Some(Vec::new());
        Ok(())
    }
}
