//! The writer: one connection, one transaction at a time, in turns.

use std::ops::{Deref, DerefMut};

use keylane::{Error, ErrorKind};
use sqlx::SqlSafeStr;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx_core::transaction::TransactionManager;
use tokio::sync::{Mutex, MutexGuard};

use super::guards::{Guarded, Guards};
use super::{Database, connect};
use crate::error::is_busy;

type Transactions = <Sqlite as sqlx::Database>::TransactionManager;

/// The writing connection and whose turn it is. Empty while it is taken, or after it was given up.
pub(super) struct Turns {
    /// All but those in a hurry wait here first, so that at most one of them waits at the slot.
    gate: Mutex<()>,
    slot: Mutex<Option<Guarded>>,
}

pub(super) type Turn<'a> = MutexGuard<'a, Option<Guarded>>;

impl Turns {
    pub(super) fn new(connection: Guarded) -> Self {
        Self { gate: Mutex::new(()), slot: Mutex::new(Some(connection)) }
    }

    pub(super) async fn take(&self) -> Turn<'_> {
        let _gate = self.gate.lock().await;
        self.slot.lock().await
    }

    pub(super) async fn take_soon(&self) -> Turn<'_> {
        self.slot.lock().await
    }
}

/// The writing connection inside a `BEGIN IMMEDIATE` transaction.
///
/// [`commit`](Self::commit) or [`rollback`](Self::rollback) ends it. Dropped without either, its
/// connection is closed, which rolls the transaction back, and the next turn opens a new one: no
/// state of an abandoned transaction reaches the next user.
pub struct Writer<'a> {
    database: &'a Database,
    turn: Turn<'a>,
    /// `None` only while the connection is lent to a handler's write, or lost by it.
    connection: Option<SqliteConnection>,
    guards: Guards,
    appended: bool,
    given_back: bool,
}

/// How a commit failed.
#[derive(Debug)]
pub enum CommitError {
    /// A constraint that is checked at the commit is broken; nothing was written.
    Constraint(sqlx::Error),
    /// Nothing was written, or, for the kind `Unknown`, it can't be said.
    Store(Error),
}

impl From<CommitError> for Error {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Constraint(source) => {
                crate::error::failed("a deferred constraint is broken", source)
            }
            CommitError::Store(error) => error,
        }
    }
}

impl<'a> Writer<'a> {
    pub(super) async fn begin(database: &'a Database, mut turn: Turn<'a>) -> Result<Self, Error> {
        let Guarded { mut connection, guards } = match turn.take() {
            Some(guarded) => guarded,
            None => connect::writer(&database.path, &database.env).await?,
        };
        guards.begin();
        let mut waits = connect::busy_waits();
        loop {
            let begun = Transactions::begin(&mut connection, Some("BEGIN IMMEDIATE".into_sql_str())).await;
            match (begun, waits.next()) {
                (Ok(()), _) => break,
                (Err(error), Some(wait)) if is_busy(&error) => database.env.sleep(wait).await,
                (Err(error), _) => {
                    if is_busy(&error) {
                        *turn = Some(Guarded { connection, guards });
                    }
                    return Err(database.error("could not begin to write", error));
                }
            }
        }
        Ok(Self { database, turn, connection: Some(connection), guards, appended: false, given_back: false })
    }

    /// This transaction appends something that others in this process wait for: its commit wakes
    /// [`Database::changed`].
    pub fn appended(&mut self) {
        self.appended = true;
    }

    /// Makes the transaction durable.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub async fn commit(mut self) -> Result<(), CommitError> {
        if self.is_broken().await {
            return Err(CommitError::Store(self.broken()));
        }
        let mut connection = self.connection.take().expect("a writer that is not broken has its connection");
        self.guards.allow_commit(true);
        let committed = Transactions::commit(&mut connection).await;
        self.guards.allow_commit(false);
        match committed {
            Ok(()) => {
                self.give_back(connection);
                if self.appended {
                    self.database.appended.send_modify(|count| *count += 1);
                }
                Ok(())
            }
            // SQLite keeps the transaction open after such a failure.
            Err(error) if crate::error::is_constraint(&error) => {
                self.connection = Some(connection);
                self.rollback().await;
                Err(CommitError::Constraint(error))
            }
            Err(error) => Err(CommitError::Store(self.unknown(error))),
        }
    }

    /// Ends the transaction as the work in it ended: commits what went well, undoes what failed.
    ///
    /// # Errors
    /// The work's own, else the commit's.
    pub async fn end<T>(self, work: Result<T, Error>) -> Result<T, Error> {
        match work {
            Ok(done) => {
                self.commit().await?;
                Ok(done)
            }
            Err(error) => {
                self.rollback().await;
                Err(error)
            }
        }
    }

    /// Undoes the transaction.
    pub async fn rollback(mut self) {
        if let Some(mut connection) = self.connection.take() {
            // A rollback that fails leaves the connection in doubt; closing it rolls back as well.
            if Transactions::rollback(&mut connection).await.is_ok() && depth(&connection) == 0 {
                self.give_back(connection);
            }
        }
    }

    /// Lends the connection out by value; [`regain`](Self::regain) takes it back.
    pub(crate) fn lend(&mut self) -> Option<SqliteConnection> {
        self.connection.take()
    }

    /// Takes a lent connection back. While it is not, and for ever where the borrower lost it, this
    /// transaction is broken.
    pub(crate) fn regain(&mut self, connection: Option<SqliteConnection>) {
        if connection.is_some() {
            self.connection = connection;
        }
    }

    /// True when the transaction is not as we began it: ended by a handler or by SQLite, nested by a
    /// handler that never came back, or its connection lost. Nothing of it will ever commit.
    pub(crate) async fn is_broken(&mut self) -> bool {
        let Some(connection) = &mut self.connection else { return true };
        if depth(connection) > 1 {
            // A nested transaction that was dropped is rolled back by a command on its way.
            drop(sqlx::Connection::ping(connection).await);
        }
        depth(connection) != 1 || self.guards.has_ended()
    }

    fn broken(&self) -> Error {
        let what = "the transaction was ended by one of its own statements; nothing of it was written, in";
        Error::new(ErrorKind::Store, format!("{what} {}", self.database.path.display()))
    }

    /// An input or output error can strike after the commit record was written.
    fn unknown(&self, error: sqlx::Error) -> Error {
        let what = format!("no certain answer to a commit in {}", self.database.path.display());
        Error::new(ErrorKind::Unknown, what).with_source(error)
    }

    fn give_back(&mut self, connection: SqliteConnection) {
        self.given_back = true;
        *self.turn = Some(Guarded { connection, guards: self.guards.clone() });
    }
}

fn depth(connection: &SqliteConnection) -> usize {
    Transactions::get_transaction_depth(connection)
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        // Nobody needs this connection any more, be it here or lost by a borrower: it closes behind what it
        // is still doing, and that shall be short. A connection that was given back is another's to use.
        if !self.given_back {
            self.guards.interrupt();
        }
    }
}

impl Deref for Writer<'_> {
    type Target = SqliteConnection;
    fn deref(&self) -> &SqliteConnection {
        self.connection.as_ref().expect("a connection is not used while it is lent")
    }
}

impl DerefMut for Writer<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.connection.as_mut().expect("a connection is not used while it is lent")
    }
}

impl std::fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer({})", self.database.path.display())
    }
}
