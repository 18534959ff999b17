//! A connection that is lent for a while, with or without a transaction on it.
//!
//! sqlx counts the transactions on a connection, so that what a handler begins inside ours is a savepoint. A commit that
//! travels in one message with the statement before it is none to sqlx, which goes on counting one; the next begin on
//! that connection is then not told to it either.

use std::ops::{Deref, DerefMut};

use futures_util::TryStreamExt;
use keylane::Error;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgRow, Postgres};
use sqlx::{AssertSqlSafe, Either, Executor, SqlSafeStr};
use sqlx_core::transaction::TransactionManager;

use super::Database;
use super::prepared::Prepared;
use super::stash::Taken;
use crate::error::{failed, is_lost};

type Manager = <Postgres as sqlx::Database>::TransactionManager;

/// Whoever drops it without [`end`](Self::end) closes the connection, and so undoes what it began.
pub(crate) struct Link<'d> {
    database: &'d Database,
    /// `None` once it was given back.
    inner: Option<Inner<'d>>,
    /// A transaction of ours is on it.
    open: bool,
    /// The connection is gone.
    lost: bool,
    /// Of a connection of the service's pool, on which nothing stays.
    prepared: Prepared,
}

enum Inner<'d> {
    Ours(Taken<'d>),
    Pooled(PoolConnection<Postgres>),
}

impl<'d> Link<'d> {
    pub(super) fn ours(database: &'d Database, taken: Taken<'d>) -> Self {
        Self {
            database,
            inner: Some(Inner::Ours(taken)),
            open: false,
            lost: false,
            prepared: Prepared::default(),
        }
    }

    pub(super) fn pooled(database: &'d Database, connection: PoolConnection<Postgres>) -> Self {
        Self {
            database,
            inner: Some(Inner::Pooled(connection)),
            open: false,
            lost: false,
            prepared: Prepared::default(),
        }
    }

    /// True where single statements run within our limits (rule S3), and are transactions of their own.
    pub(crate) fn is_own(&self) -> bool {
        self.database.own && matches!(self.inner, Some(Inner::Ours(_)))
    }

    /// One with the transaction that its handler began.
    pub(super) fn with_transaction(mut self) -> Self {
        self.open = true;
        self
    }

    /// Begins a transaction.
    pub(crate) async fn begin(&mut self) -> Result<(), Error> {
        let begun = match self.depth() {
            0 => self.begin_counted().await,
            _ => {
                let begin = self.database.begin(self.is_own());
                self.open = true;
                self.execute(AssertSqlSafe(begin)).await.map(drop)
            }
        };
        begun.map_err(|error| self.broke("could not begin a transaction", error))
    }

    async fn begin_counted(&mut self) -> Result<(), sqlx::Error> {
        let begin = AssertSqlSafe(self.database.begin(self.is_own())).into_sql_str();
        self.open = true;
        Manager::begin(self, Some(begin)).await
    }

    /// Begins a transaction with a statement, in one message where sqlx knows of one; gives its row.
    pub(crate) async fn begin_with(&mut self, sql: &str) -> Result<PgRow, sqlx::Error> {
        let mut sql = self.database.text(sql);
        match self.depth() {
            0 => self.begin_counted().await?,
            _ => sql = format!("{}; {sql}", self.database.begin(self.is_own())),
        }
        self.open = true;
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut **self).await?;
        rows.into_iter().next().ok_or(sqlx::Error::RowNotFound)
    }

    /// Ends the transaction with a statement, in one message; gives its row, which is there where it was the commit that
    /// failed, and whether that was done.
    pub(crate) async fn commit_behind(&mut self, sql: &str) -> (Option<PgRow>, Result<(), sqlx::Error>) {
        debug_assert!(matches!(self.inner, Some(Inner::Ours(_))), "a service's pool would meet sqlx's count");
        let sql = AssertSqlSafe(format!("{}; COMMIT", self.database.text(sql)));
        let mut row = None;
        let done = {
            let mut answers = sqlx::raw_sql(sql).fetch_many(&mut **self);
            loop {
                match answers.try_next().await {
                    Ok(Some(Either::Right(found))) => row = Some(found),
                    Ok(Some(Either::Left(_))) => {}
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            }
        };
        match &done {
            Ok(()) => self.open = false,
            Err(error) => self.note(error),
        }
        (row, done)
    }

    /// Begins one where it is needed for our limits.
    pub(crate) async fn begin_if_needed(&mut self) -> Result<(), Error> {
        if self.is_own() { Ok(()) } else { self.begin().await }
    }

    /// True while nothing but our own transaction is begun.
    pub(crate) fn is_single(&self) -> bool {
        self.depth() == 1
    }

    fn depth(&self) -> usize {
        Manager::get_transaction_depth(self)
    }

    fn in_transaction(&self) -> bool {
        self.open && self.is_here()
    }

    /// Makes what was begun durable.
    pub(crate) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        let done = Manager::commit(self).await;
        match &done {
            Ok(()) => self.open = false,
            Err(error) => self.note(error),
        }
        done
    }

    /// Undoes what was begun and gives the connection back, where it is as good as before; else closes it.
    pub(crate) async fn undo(mut self) {
        if self.lost || self.connection().is_none() {
            return;
        }
        self.forget_prepared();
        if self.in_transaction() && (!self.is_single() || Manager::rollback(&mut self).await.is_err()) {
            return;
        }
        self.open = false;
        self.give();
    }

    /// Gives the connection back; nothing is begun on it.
    pub(crate) fn give(mut self) {
        match self.inner.take() {
            Some(Inner::Ours(taken)) if !self.lost => taken.give(&self.database.env),
            inner => drop(inner),
        }
    }

    /// Ends the work: with what it brought where that is durable, with its error where all is undone.
    pub(crate) async fn end<T>(mut self, ended: Result<T, Error>) -> Result<T, Error> {
        match ended {
            Ok(value) if self.in_transaction() => match self.commit().await {
                Ok(()) => {
                    self.give();
                    Ok(value)
                }
                Err(error) => Err(failed("could not commit", error)),
            },
            Ok(value) => {
                self.give();
                Ok(value)
            }
            Err(error) => {
                self.undo().await;
                Err(error)
            }
        }
    }

    /// Notes an error of the connection, and gives it the runtime's words.
    pub(crate) fn broke(&mut self, what: &str, error: sqlx::Error) -> Error {
        self.note(&error);
        failed(what, error)
    }

    /// Notes whether the connection is lost.
    pub(crate) fn note(&mut self, error: &sqlx::Error) {
        if is_lost(error) {
            self.lost = true;
            if let Some(Inner::Ours(taken)) = &self.inner {
                taken.stash().forget();
            }
        }
    }

    /// Lends the connection to a write; `None` when an earlier one kept it. Commits have connections of ours.
    pub(crate) fn lend(&mut self) -> Option<PgConnection> {
        match &mut self.inner {
            Some(Inner::Ours(taken)) => taken.connection.take(),
            _ => None,
        }
    }

    /// Takes it back.
    pub(crate) fn regain(&mut self, connection: Option<PgConnection>) {
        if let Some(Inner::Ours(taken)) = &mut self.inner {
            taken.connection = connection;
        }
    }

    /// Closes the connection, on which something may be under way, and ends that: the server notices that nobody waits
    /// for it when it is done, and keeps its locks until then.
    pub(crate) async fn abandon(&mut self) {
        let Some(Inner::Ours(taken)) = &mut self.inner else { return };
        if let Some(backend) = taken.backend.take()
            && let Err(error) = self.database.interrupt(backend).await
        {
            tracing::warn!(%error, "postgres: a late write could not be ended; the server's own limit ends it");
        }
        drop(taken.connection.take());
    }

    /// What stands prepared on it.
    pub(super) fn prepared(&mut self) -> &mut Prepared {
        match &mut self.inner {
            Some(Inner::Ours(taken)) => &mut taken.prepared,
            _ => &mut self.prepared,
        }
    }

    /// Whether it is there: a write may have kept it.
    pub(crate) fn is_here(&self) -> bool {
        self.connection().is_some()
    }

    fn connection(&self) -> Option<&PgConnection> {
        match &self.inner {
            Some(Inner::Ours(taken)) => taken.connection.as_ref(),
            Some(Inner::Pooled(connection)) => Some(connection),
            None => None,
        }
    }
}

impl Deref for Link<'_> {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        self.connection().expect("a link has its connection but while it is lent")
    }
}

impl DerefMut for Link<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        let connection = match &mut self.inner {
            Some(Inner::Ours(taken)) => taken.connection.as_mut(),
            Some(Inner::Pooled(connection)) => Some(&mut **connection),
            None => None,
        };
        connection.expect("a link has its connection but while it is lent")
    }
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        let spoilt = self.lost || self.in_transaction();
        if let Some(Inner::Pooled(mut connection)) = self.inner.take().filter(|_| spoilt) {
            connection.close_on_drop();
        }
    }
}
