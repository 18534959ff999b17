//! Writes that commit together with the event.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::recorder::Recorder;
use super::{BatchParts, CallParts, Failure, FromCall, Scene, StoreNeed};
use crate::store::{Effect, EffectFn, OwnTransactions, Statements, StoreAdapter, Tx, TxHome};

/// Asks for exactly-once writes in store `S`.
///
/// A handler that takes this argument can be started only where `S` is the configured store.
///
/// ```
/// use keylane::{Effects, Event, Failure, Tx};
/// # use keylane::store::{Store, StoreAdapter};
/// # #[derive(Default, serde::Deserialize, schemars::JsonSchema)] struct Settings {}
/// # impl keylane::config::Component for Settings {}
/// # struct Connection;
/// # impl Connection { async fn execute(&mut self, _: &str, _: (String, u64)) -> Result<(), std::io::Error> { Ok(()) } }
/// # struct Sqlite;
/// # impl StoreAdapter for Sqlite {
/// #     const KIND: &'static str = "sqlite";
/// #     type Config = Settings;
/// #     type Connection = Connection;
/// #     async fn open(&self, _: Settings, _: &keylane::Env) -> Result<std::sync::Arc<dyn Store>, keylane::Error> { Err(keylane::Error::new(keylane::ErrorKind::Store, "an example opens nothing")) }
/// # }
/// # #[derive(serde::Deserialize)] struct OrderPaid { order: String, total: u64 }
///
/// async fn paid(event: Event<OrderPaid>, mut fx: Effects<Sqlite>) -> Result<(), Failure> {
///     fx.commit_with((event.order.clone(), event.total), async |mut tx: Tx<Sqlite>, (order, total)| {
///         tx.execute("UPDATE orders SET paid = ?2 WHERE id = ?1", (order, total)).await?;
///         tx.done()
///     });
///     Ok(())
/// }
/// # let _ = keylane::Routes::<()>::new().on("order.paid", paid);
/// ```
pub struct Effects<S> {
    recorder: Recorder,
    scene: Arc<Scene>,
    own: bool,
    store: PhantomData<fn() -> S>,
}

impl<S: StoreAdapter> Effects<S> {
    /// Records a write. `f` runs inside the transaction that commits the event, after the handler
    /// returned `Ok`, and is forgotten when it returns anything else.
    ///
    /// - It commits once for an event of this id, together with the mark that the event is finished;
    ///   writes of one handler run in the order in which they were recorded.
    /// - It may *run* more than once, on a transaction that is then rolled back: it owns what it gets
    ///   (`args`, cloned for each run), captures nothing that changes, and touches nothing but `tx`.
    /// - It has a time limit, because it holds up the events that commit in the same group.
    /// - When it fails, its event fails with it, as if the handler had returned that failure.
    pub fn commit_with<A, F, Fut>(&mut self, args: A, f: F)
    where
        A: Clone + Send + Sync + 'static,
        F: Fn(Tx<S>, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let write: EffectFn<S> = Arc::new(move |tx| Box::pin(f(tx, args.clone())));
        self.record(Effect::new(write));
    }

    fn record(&self, write: Effect) {
        if !self.recorder.effect(write) {
            tracing::error!(
                store = S::KIND,
                "a write was recorded after its handler returned, and is dropped; await what records it"
            );
        }
    }
}

impl<S: Statements> Effects<S> {
    /// Records a write that is one statement, whose answer nobody looks at. It commits as
    /// [`commit_with`](Self::commit_with) says, beside those that were recorded by it, and costs no round trip of its own:
    /// the statements of all events of a group travel with the commit.
    ///
    /// - It may *run* more than once, on a transaction that is then rolled back.
    /// - When it fails, its event fails with it.
    pub fn commit_statement(&mut self, statement: S::Statement) {
        self.record(Effect::statement::<S>(statement));
    }
}

impl<S: OwnTransactions> Effects<S> {
    /// Opens a transaction of this run's own, for handlers that must read what they wrote. The event commits in it
    /// when the handler returns `Ok`, and it is rolled back when the handler returns anything else or is dropped.
    /// Writes recorded by [`commit_with`](Self::commit_with) follow in it.
    ///
    /// - It costs a commit an event: nothing else commits with it, and the key's next event waits for it.
    /// - It comes from connections apart from those that commit groups, and waits for one that is free.
    /// - The database ends one that is open for longer than a third of `runtime.session` (rule S3): a slow call to
    ///   somewhere else belongs before it.
    /// - What [`Tx`] it gives has to be dropped when the handler returns; one a run.
    ///
    /// # Errors
    /// What the store says, as `unavailable` where that passes; permanent when the subscription says `ahead = true`,
    /// whose handlers run before the writes that they would wait for, and for a second one in the same run.
    pub async fn transaction(&mut self) -> Result<Tx<S>, Failure> {
        if std::mem::replace(&mut self.own, true) {
            return Err(
                Failure::new("a handler's run has one transaction of its own; pass it on").permanent()
            );
        }
        let connection = self.scene.begin.begin().await?;
        let Ok(connection) = connection.downcast::<S::Connection>() else {
            return Err(Failure::new(format!("the store's transactions are not of {}", S::KIND)).permanent());
        };
        let home = TxHome::default();
        let tx = home.lend(*connection);
        if self.recorder.own(Effect::own(home)) {
            Ok(tx)
        } else {
            Err(Failure::new("a transaction was opened after its handler returned; await what opens it"))
        }
    }
}

impl<St, S: StoreAdapter> FromCall<St> for Effects<S> {
    fn from_call(call: &mut CallParts, _: &St) -> Result<Self, Failure> {
        let scene = call.scene().clone();
        Ok(Self { recorder: call.recorder().clone(), scene, own: false, store: PhantomData })
    }

    fn stores() -> Vec<StoreNeed> {
        vec![StoreNeed::of::<S>()]
    }
}

impl<St, S: StoreAdapter> FromCall<St, BatchParts> for Effects<S> {
    fn from_call(batch: &mut BatchParts, _: &St) -> Result<Self, Failure> {
        let scene = batch.scene().clone();
        Ok(Self { recorder: batch.recorder().clone(), scene, own: false, store: PhantomData })
    }

    fn stores() -> Vec<StoreNeed> {
        vec![StoreNeed::of::<S>()]
    }
}

impl<S: StoreAdapter> fmt::Debug for Effects<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Effects({})", S::KIND)
    }
}
