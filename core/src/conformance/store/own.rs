//! Transactions of handlers' own, in stores that have them.

use super::Harness;
use super::events::{finish, payload};
use super::stage::{Group, Worker, worker};
use crate::conformance::skipped;
use crate::error::ErrorKind;
use crate::store::{Admission, Effect, Fate, StoreAdapter, Tx, TxHome};

/// An open transaction as a handler has it, and as its event's effect.
struct Own<H: Harness> {
    tx: Tx<H::Adapter>,
    effect: Effect,
}

/// `None` where the store says that it has none, and says so.
async fn own<H: Harness>(worker: &Worker, check: &str) -> Option<Own<H>> {
    let connection = match worker.store.begin(worker.session).await {
        Ok(connection) => connection,
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            skipped(check, "the store has no transactions of handlers' own");
            return None;
        }
        Err(error) => panic!("a transaction is opened: {error:?}"),
    };
    let connection = connection.downcast::<<H::Adapter as StoreAdapter>::Connection>();
    let home = TxHome::<H::Adapter>::default();
    let tx =
        home.lend(*connection.unwrap_or_else(|_| panic!("what begin gives is the adapter's connection")));
    Some(Own { tx, effect: Effect::own(home) })
}

impl<H: Harness> Own<H> {
    /// The handler writes a row and returns.
    async fn writes(mut self, name: &str) -> Effect {
        H::insert(&mut self.tx, name, "own").await.expect("a handler writes");
        self.effect
    }
}

/// Its writes, ledger row and position, all or none.
pub async fn own_transaction_commits_with_its_event<H: Harness>(harness: &H) {
    let a = worker(harness, "a").await;
    let claim = a.claim(0).await;
    let Some(own) = own::<H>(&a, "own_transaction_commits_with_its_event").await else { return };
    let effect = own.writes("own").await;
    assert_eq!(harness.rows("own").await, [""; 0], "before the commit nobody sees it");
    let fates = a.fates(Group::of(&claim).with(finish(0, "x"), vec![effect])).await;
    assert_eq!(fates, [Fate::Committed]);
    assert_eq!(harness.rows("own").await, ["own"]);
    assert_eq!(a.admit(&claim, &[("x", payload("x"))]).await, [Admission::Finished]);
    assert_eq!(a.claim(0).await.position.map(|at| at.base), Some(1), "the position");
}

/// Nothing is left of one whose event is excluded or finished.
pub async fn own_transaction_is_fenced<H: Harness>(harness: &H) {
    let check = "own_transaction_is_fenced";
    let a = worker(harness, "a").await;
    let claim = a.claim(0).await;
    let Some(duplicate) = own::<H>(&a, check).await else { return };
    let effect = duplicate.writes("fenced").await;
    a.commit(Group::of(&claim).event(finish(0, "x"))).await;
    let again = Group::of(&claim).with(finish(0, "x"), vec![effect]);
    assert_eq!(a.fates(again).await, [Fate::Duplicate]);

    let Some(excluded) = own::<H>(&a, check).await else { return };
    let effect = excluded.writes("fenced").await;
    a.claim(0).await;
    let late = Group::of(&claim).with(finish(1, "y"), vec![effect]);
    assert_eq!(a.fates(late).await, [Fate::Excluded], "the claim was granted anew meanwhile");

    let Some(lost) = own::<H>(&a, check).await else { return };
    let effect = lost.writes("fenced").await;
    a.store.close_session(a.session).await.expect("a session is closed");
    a.is_lost(Group::of(&claim).with(finish(2, "z"), vec![effect])).await;
    assert_eq!(harness.rows("fenced").await, [""; 0]);
}

/// Dropped, it leaves nothing; an event that comes without it runs again.
pub async fn own_transaction_that_is_gone_is_behind<H: Harness>(harness: &H) {
    let check = "own_transaction_that_is_gone_is_behind";
    let a = worker(harness, "a").await;
    let claim = a.claim(0).await;
    let Some(dropped) = own::<H>(&a, check).await else { return };
    drop(dropped.writes("gone").await);
    let Some(taken) = own::<H>(&a, check).await else { return };
    let effect = taken.writes("gone").await;
    drop(effect.take_own::<H::Adapter>());
    let fates = a.fates(Group::of(&claim).with(finish(0, "x"), vec![effect])).await;
    assert_eq!(fates, [Fate::Behind]);
    assert_eq!(harness.rows("gone").await, [""; 0]);
    assert_eq!(a.admit(&claim, &[("x", payload("x"))]).await, [Admission::Fresh]);
}
