//! Round trips, and answers that are lost (rule U1).

use keylane::ErrorKind;
use keylane::conformance::store::Harness;
use keylane::store::{Admission, Fate, LeaseAnswer};
use keylane_postgres::PostgresConfig;

use crate::stage::Stage;
use crate::stage::proxy::Proxy;
use crate::stage::worker::{LONG, Worker, insert};

async fn worker_by(proxy: &Proxy, stage: &Stage) -> Worker {
    let config = PostgresConfig { url: Some(proxy.url.clone().into()), ..stage.config() };
    Worker::on(stage, stage.open_with(config).await, LONG).await
}

/// Each for a whole batch. The first time a connection also prepares the statement.
#[tokio::test]
async fn admit_and_plain_commits_are_one_round_trip() {
    let stage = stage!();
    let proxy = Proxy::before(&stage.url()).await;
    let worker = worker_by(&proxy, &stage).await;
    let claim = worker.claim().await;
    worker.admit("k", "none").await;
    worker.store.commit(&worker.group(&claim, vec![vec![], vec![]])).await.unwrap();
    let claim = worker.claim().await;
    proxy.answers();
    let lease = worker.admit("another", "x").await;
    assert!(matches!(lease.leases[..], [LeaseAnswer::Granted { .. }]));
    assert_eq!(proxy.answers(), 1, "an admission");
    let again = worker.claim().await;
    proxy.answers();
    let mut group = worker.group(&again, (0..100).map(|_| vec![]).collect());
    for (at, unit) in group.units.iter_mut().enumerate() {
        unit.events[0].id = format!("other-{at}").as_str().into();
    }
    let fates = worker.store.commit(&group).await.unwrap().fates;
    assert_eq!(fates, vec![Fate::Committed; 100]);
    assert_eq!(proxy.answers(), 1, "a commit of a hundred");
    assert!(claim.claim.epoch < again.claim.epoch);
}

/// Begin and ledger are one, the effects' own statements as many as they are, end and commit one.
#[tokio::test]
async fn a_commit_with_one_effect_is_three_round_trips() {
    let stage = stage!();
    let proxy = Proxy::before(&stage.url()).await;
    let worker = worker_by(&proxy, &stage).await;
    let claim = worker.claim().await;
    for (id, first) in [("a", true), ("b", false), ("c", false)] {
        let mut group = worker.group(&claim, vec![vec![insert(id)]]);
        group.units[0].events[0].id = id.into();
        proxy.answers();
        assert_eq!(worker.store.commit(&group).await.unwrap().fates, [Fate::Committed]);
        // The first one connects and prepares.
        assert!(first || proxy.answers() == 3, "a commit of {id}");
    }
    assert_eq!(stage.rows("rows").await, ["a", "b", "c"]);
}

/// On a connection that ended a transaction before by a message of two statements. `SELECT` is lost with the answer to
/// the first message, before anything could be committed.
#[tokio::test]
async fn u1_a_lost_end_is_unknown_on_a_connection_that_was_used_before() {
    for lost in [&b"COMMIT\0"[..], b"SELECT 1\0"] {
        let stage = stage!();
        let proxy = Proxy::before(&stage.url()).await;
        let worker = worker_by(&proxy, &stage).await;
        let claim = worker.claim().await;
        let before = worker.group(&claim, vec![vec![insert("before")]]);
        assert_eq!(worker.store.commit(&before).await.unwrap().fates, [Fate::Committed]);
        let mut group = worker.group(&claim, vec![vec![insert("x")]]);
        group.units[0].events[0].id = "another".into();
        proxy.lose(lost);
        let error = worker.store.commit(&group).await.unwrap_err();
        let written = worker.store.resolve(&group).await.unwrap() == [Fate::Committed];
        assert_eq!(stage.rows("rows").await.len(), 1 + usize::from(written));
        assert!(error.kind() == ErrorKind::Unknown || !written, "{error:?}");
        assert!(written || error.is_transient(), "{error:?}");
        let again = worker.store.commit(&group).await.unwrap().fates;
        assert_eq!(again, [if written { Fate::Duplicate } else { Fate::Committed }]);
        assert_eq!(stage.rows("rows").await, ["before", "x"], "once");
    }
}

/// Of one statement that was its own transaction.
#[tokio::test]
async fn u1_a_lost_answer_is_unknown_until_it_is_resolved() {
    let stage = stage!();
    let proxy = Proxy::before(&stage.url()).await;
    let worker = worker_by(&proxy, &stage).await;
    let lease = worker.lease("k").await;
    let group = worker.ending(&lease, "x", vec![]);
    // The columns of the answer are told when the statement is prepared: one round before.
    let other = worker.lease("before").await;
    worker.store.commit(&worker.ending(&other, "before", vec![])).await.unwrap();
    proxy.lose(b"SELECT 1\0");
    let error = worker.store.commit(&group).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown, "{error:?}");
    assert_eq!(worker.store.resolve(&group).await.unwrap(), [Fate::Committed]);
    assert_eq!(worker.store.leases(worker.session).await.unwrap(), [], "the lease went with it");
}

/// Of the COMMIT itself.
#[tokio::test]
async fn u1_a_lost_answer_to_a_commit_with_effects_is_unknown() {
    let stage = stage!();
    let proxy = Proxy::before(&stage.url()).await;
    let worker = worker_by(&proxy, &stage).await;
    let claim = worker.claim().await;
    let group = worker.group(&claim, vec![vec![insert("x")]]);
    proxy.lose(b"COMMIT\0");
    let error = worker.store.commit(&group).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown, "{error:?}");
    assert_eq!(worker.store.resolve(&group).await.unwrap(), [Fate::Committed]);
    assert_eq!(stage.rows("rows").await, ["x"]);
    assert_eq!(worker.store.commit(&group).await.unwrap().fates, [Fate::Duplicate]);
    assert_eq!(stage.rows("rows").await, ["x"], "once");
}

/// Of a statement before the COMMIT: nothing is written, and nobody need ask.
#[tokio::test]
async fn a_lost_answer_before_the_commit_is_transient() {
    let stage = stage!();
    let proxy = Proxy::before(&stage.url()).await;
    let worker = worker_by(&proxy, &stage).await;
    let claim = worker.claim().await;
    let group = worker.group(&claim, vec![vec![insert("x")]]);
    proxy.lose(b"BEGIN\0");
    let error = worker.store.commit(&group).await.unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Store, true), "{error:?}");
    assert_eq!(worker.admit("k", "event-0").await.events, [Admission::Fresh]);
    assert_eq!(worker.store.commit(&group).await.unwrap().fates, [Fate::Committed]);
    assert_eq!(stage.rows("rows").await, ["x"]);
}
