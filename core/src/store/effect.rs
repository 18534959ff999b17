//! Writes that a handler recorded, to run inside the transaction that commits its event.

use std::any::{Any, TypeId};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;

use super::StoreAdapter;
use crate::env::BoxFuture;
use crate::handler::Failure;

/// A recorded write in the words of store `S`. It may run more than once; only one run commits.
pub type EffectFn<S> = Arc<dyn Fn(Tx<S>) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync>;

/// A recorded write of any store, or a handler's own transaction.
#[derive(Clone)]
pub struct Effect {
    store: TypeId,
    kind: &'static str,
    own: bool,
    run: Arc<dyn Any + Send + Sync>,
}

/// A store that gives handlers transactions of their own: [`Effects::transaction`](crate::Effects::transaction).
/// One with a single writer does not, because a handler would hold it.
pub trait OwnTransactions: StoreAdapter {}

/// A store that also takes writes as statements: [`Effects::commit_statement`](crate::Effects::commit_statement). It
/// knows them before it runs them, and so may send many at once.
pub trait Statements: StoreAdapter {
    /// A statement with its parameters.
    type Statement: Send + Sync + 'static;
}

/// A connection with an open transaction, an adapter's `Connection` in a box. Dropped, it is rolled back.
pub type OwnConnection = Box<dyn Any + Send>;

impl Effect {
    /// A write for store `S`.
    pub fn new<S: StoreAdapter>(run: EffectFn<S>) -> Self {
        Self { store: TypeId::of::<S>(), kind: S::KIND, own: false, run: Arc::new(run) }
    }

    /// The transaction that a handler of store `S` opened and wrote in: its event commits in it.
    #[must_use]
    pub fn own<S: StoreAdapter>(home: TxHome<S>) -> Self {
        Self { store: TypeId::of::<S>(), kind: S::KIND, own: true, run: Arc::new(home) }
    }

    /// A write of store `S` that is one statement.
    pub fn statement<S: Statements>(statement: S::Statement) -> Self {
        Self { store: TypeId::of::<S>(), kind: S::KIND, own: false, run: Arc::new(statement) }
    }

    /// The statement, where the write is one of store `S`. Only the store's own code runs it.
    #[must_use]
    pub fn as_statement<S: Statements>(&self) -> Option<&S::Statement> {
        if self.store == TypeId::of::<S>() { self.run.downcast_ref() } else { None }
    }

    /// True for a handler's own transaction. It is the first effect of a unit that is a group by itself.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.own
    }

    /// The connection of a handler's own transaction, once, for its store; `None` when it was taken before, or
    /// the handler let something else keep its [`Tx`].
    #[must_use]
    pub fn take_own<S: StoreAdapter>(&self) -> Option<S::Connection> {
        if !self.own || self.store != TypeId::of::<S>() {
            return None;
        }
        self.run.downcast_ref::<TxHome<S>>()?.take()
    }

    /// The write, if it is for store `S` and no statement. A service whose handlers name another store than the
    /// configured one is refused at start, so that an adapter sees only its own.
    #[must_use]
    pub fn for_store<S: StoreAdapter>(&self) -> Option<&EffectFn<S>> {
        if self.store == TypeId::of::<S>() { self.run.downcast_ref() } else { None }
    }
}

impl Effect {
    /// Runs the write on `connection`, for a store adapter inside its commit, and gives the connection
    /// back: `None` when the write kept its [`Tx`] beyond its end. A panic is a failure as any other.
    pub async fn run<S: StoreAdapter>(
        &self,
        connection: S::Connection,
    ) -> (Option<S::Connection>, Result<(), Failure>) {
        let Some(write) = self.for_store::<S>() else {
            let what = format!("a write for the {} store ran on {}", self.kind, S::KIND);
            return (Some(connection), Err(Failure::new(what).permanent()));
        };
        let home = TxHome::<S>::default();
        let tx = home.lend(connection);
        // The write is called inside, so that a panic before its first await is caught as well. What it
        // touched is the connection alone, whose transaction is rolled back on a failure.
        let run = AssertUnwindSafe(async { write(tx).await }).catch_unwind();
        let ended = run.await.unwrap_or_else(|panic| Err(panicked(&*panic)));
        (home.take(), ended)
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Failure::new(format!("a write panicked: {}", text.unwrap_or("without a message")))
}

impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Effect({})", self.kind)
    }
}

/// The transaction that commits an event, lent to a handler's write. Derefs to the store's connection.
///
/// It owns the connection while the write runs and gives it back when dropped, however the write ends.
pub struct Tx<S: StoreAdapter> {
    connection: Option<S::Connection>,
    home: TxHome<S>,
}

/// Where a connection comes back to when its [`Tx`] is dropped. For store adapters.
pub struct TxHome<S: StoreAdapter>(Arc<Mutex<Option<S::Connection>>>);

impl<S: StoreAdapter> Clone for TxHome<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: StoreAdapter> Default for TxHome<S> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }
}

impl<S: StoreAdapter> TxHome<S> {
    /// Lends `connection` out.
    #[must_use]
    pub fn lend(&self, connection: S::Connection) -> Tx<S> {
        Tx { connection: Some(connection), home: self.clone() }
    }

    /// Takes the connection back; `None` while a [`Tx`] still has it.
    #[must_use]
    pub fn take(&self) -> Option<S::Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<S: StoreAdapter> Tx<S> {
    /// Ends the write well: `tx.done()` is its last line.
    ///
    /// # Errors
    /// None; the type is what a write returns, so that `?` works before it.
    pub fn done(self) -> Result<(), Failure> {
        Ok(())
    }
}

impl<S: StoreAdapter> Drop for Tx<S> {
    fn drop(&mut self) {
        *self.home.0.lock().unwrap_or_else(PoisonError::into_inner) = self.connection.take();
    }
}

impl<S: StoreAdapter> Deref for Tx<S> {
    type Target = S::Connection;
    fn deref(&self) -> &S::Connection {
        self.connection.as_ref().expect("a Tx has its connection until it is dropped")
    }
}

impl<S: StoreAdapter> DerefMut for Tx<S> {
    fn deref_mut(&mut self) -> &mut S::Connection {
        self.connection.as_mut().expect("a Tx has its connection until it is dropped")
    }
}

impl<S: StoreAdapter> fmt::Debug for Tx<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tx({})", S::KIND)
    }
}
