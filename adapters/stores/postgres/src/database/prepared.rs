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

/// What is known to stand prepared: texts and names.
#[derive(Debug, Default)]
pub(crate) struct Prepared(Vec<(SqlStr, String)>);

/// Why a statement is not ready.
pub(crate) enum Unready {
    /// It is not taken, and would not be the next time.
    Refused(Failure),
    /// The connection is lost.
    Lost(sqlx::Error),
}

impl Link<'_> {
    /// What runs these statements, each prepared on this connection, if need be now.
    pub(crate) async fn executes<'s>(
        &mut self,
        statements: impl Iterator<Item = &'s Statement>,
    ) -> Result<Vec<String>, Unready> {
        if self.prepared().0.len() >= KEPT_MAX {
            let names = self.prepared().0.drain(..).map(|(_, name)| name).collect();
            self.throw_away(names).await.map_err(Unready::Lost)?;
        }
        let mut executes = Vec::new();
        for statement in statements {
            executes.push(self.execute(statement).await?);
        }
        Ok(executes)
    }

    /// Nothing is taken to stand ready: a write may have thrown it away, or what it is about was changed.
    pub(crate) fn forget_prepared(&mut self) {
        self.prepared().0.clear();
    }

    async fn execute(&mut self, statement: &Statement) -> Result<String, Unready> {
        let text = statement.text();
        let known = self.prepared().0.iter().find(|(known, _)| known.as_str() == text.as_str());
        if let Some((_, name)) = known {
            return statement.execute(name).map_err(Unready::Refused);
        }
        // The same on each connection: one that was prepared by somebody else is known by it.
        let name = Uuid::from_bytes(PayloadHash::of(text.as_str().as_bytes()).0);
        let name = format!("keylane_{}", name.simple());
        let executes = statement.execute(&name).map_err(Unready::Refused)?;
        self.prepare(name.clone(), text).await.map_err(|error| match is_lost(&error) {
            true => Unready::Lost(error),
            false => Unready::Refused(statement.failure(&error)),
        })?;
        self.prepared().0.push((text.clone(), name));
        Ok(executes)
    }

    /// By a message that takes one statement, so that a text with several in it is refused.
    async fn prepare(&mut self, name: String, text: &SqlStr) -> Result<(), sqlx::Error> {
        let prepare = AssertSqlSafe(format!("PREPARE {name} AS {}", text.as_str()));
        self.throw_away(vec![name]).await?;
        sqlx::query(prepare).persistent(false).execute(&mut **self).await.map(drop)
    }

    async fn throw_away(&mut self, names: Vec<String>) -> Result<(), sqlx::Error> {
        let there = sqlx::query_scalar("SELECT name FROM pg_prepared_statements WHERE name = ANY ($1)");
        let there: Vec<String> = there.persistent(false).bind(names).fetch_all(&mut **self).await?;
        let sql: Vec<_> = there.iter().map(|name| format!("DEALLOCATE {name}")).collect();
        match sql.is_empty() {
            true => Ok(()),
            false => sqlx::raw_sql(AssertSqlSafe(sql.join(";"))).execute(&mut **self).await.map(drop),
        }
    }
}
