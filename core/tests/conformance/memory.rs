//! What is the memory ones' own, beyond the contracts.

use std::sync::{Arc, Mutex};

use keylane::broker::{Change, ConsumerSpec, Outgoing, Pulled, Reset, Start};
use keylane::event::{PayloadHash, Record};
use keylane::memory::{Memory, MemoryBroker};
use keylane::store::{
    ClaimAnswer, ClaimCommit, ClaimRequest, CommitEvent, CommitGroup, Effect, HoldCommit, NewSession, Scope,
    SessionId, Store, Tx, Unit, Verdict,
};
use keylane::watermark::Watermark;
use keylane::{Env, ErrorKind};

use super::clock::Virtual;

/// A group of one event with one effect, under a claim of its own.
async fn group(store: &dyn Store, env: &Env, effect: Effect) -> CommitGroup {
    let session = SessionId(env.uuid());
    let lifetime = std::time::Duration::from_secs(60);
    store.register(NewSession { id: session, worker: "w".to_owned(), lifetime }).await.expect("a session");
    let scope = Scope { subscription: "s".into(), broker: "b".into(), source: "o".into() };
    let request = ClaimRequest { session, scope, partition: 0, handover_limit: lifetime };
    let ClaimAnswer::Granted(claim) = store.claim(request).await.expect("an answer") else {
        panic!("the claim is free")
    };
    let mut watermark = Watermark::new(0, 8);
    let _ = watermark.deliver(0);
    let commit = ClaimCommit { claim: claim.claim, watermark, witness: None, identity: None, partitions: 1 };
    let holds = vec![HoldCommit::Claim(Box::new(commit))];
    let event = CommitEvent {
        hold: 0,
        offset: 0,
        id: "id".into(),
        key: "id".into(),
        ledger: Some(PayloadHash::of(b"x")),
        unpark: None,
        verdict: Verdict::Finish,
    };
    CommitGroup { session, holds, units: vec![Unit { events: vec![event], effects: vec![effect] }] }
}

#[tokio::test]
async fn an_effect_that_keeps_its_transaction_commits_nothing() {
    let env = Env::new(Virtual::new());
    let memory = Memory::new();
    let store = memory.worker(&env);
    let kept: Arc<Mutex<Option<Tx<Memory>>>> = Arc::default();
    let keeps = kept.clone();
    let effect = Effect::new::<Memory>(Arc::new(move |mut tx| {
        let keeps = keeps.clone();
        Box::pin(async move {
            tx.append("rows", "kept");
            *keeps.lock().unwrap() = Some(tx);
            Ok(())
        })
    }));
    let group = group(&*store, &env, effect).await;
    let error = store.commit(&group).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown, "only resolve can say: {error}");
    drop(kept.lock().unwrap().take());
    assert!(!store.resolve(&group).await.unwrap()[0].is_committed());
    assert!(memory.rows("rows").await.is_empty());
}

#[tokio::test]
async fn a_transaction_reads_what_it_wrote_and_undoes_it() {
    let env = Env::new(Virtual::new());
    let memory = Memory::new();
    let store = memory.worker(&env);
    let effect = |fails: bool| {
        Effect::new::<Memory>(Arc::new(move |mut tx| {
            Box::pin(async move {
                assert_eq!((tx.read("totals", "a"), tx.rows("rows").len()), (None, 0));
                tx.put("totals", "a", "1");
                tx.append("rows", "r");
                assert_eq!(tx.read("totals", "a").as_deref(), Some(b"1".as_slice()));
                tx.remove("totals", "a");
                assert_eq!((tx.read("totals", "a"), tx.rows("rows").len()), (None, 1));
                tx.put("totals", "a", "2");
                if fails { Err(keylane::Failure::new("no")) } else { tx.done() }
            })
        }))
    };
    let mut group = group(&*store, &env, effect(true)).await;
    assert!(!store.commit(&group).await.unwrap().fates[0].is_committed());
    assert_eq!((memory.read("totals", "a").await, memory.rows("rows").await.len()), (None, 0));
    group.units[0].effects = vec![effect(false)];
    assert!(store.commit(&group).await.unwrap().fates[0].is_committed());
    assert_eq!(memory.values("totals").await, [("a".into(), "2".into())]);
    assert_eq!(memory.rows("rows").await, ["r"]);
}

#[tokio::test]
async fn records_that_expired_are_not_passed_over() {
    let env = Env::new(Virtual::new());
    let server = MemoryBroker::new();
    server.create("orders", 1);
    let broker = server.worker(&env);
    let publisher = broker.publisher().await.unwrap();
    for text in ["zero", "one", "two"] {
        let outgoing = Outgoing { target: "orders".to_owned(), record: Record::new(text) };
        publisher.publish(vec![outgoing]).await.pop().unwrap().unwrap();
    }
    server.expire("orders", 0, 2);
    let spec = ConsumerSpec {
        subscription: "s".into(),
        source: "orders".into(),
        group: "g".into(),
        reset: Reset::Earliest,
        unsettled_max: 1024,
        prefetch_bytes_max: 1024,
        settings: Default::default(),
    };
    let consumer = broker.consumer(spec).await.unwrap();
    let Pulled::Change(Change::Assigned(_)) = consumer.pull(1).await.unwrap() else {
        panic!("an assignment first")
    };
    let bounds = consumer.bounds(0).await.unwrap();
    assert_eq!((bounds.low, bounds.high, consumer.origin(0).await.unwrap()), (2, 3, 2));
    consumer.start(vec![Start { partition: 0, offset: 0, epoch: 1 }]).await.unwrap();
    let Pulled::Change(Change::Broken { partition: 0, epoch: 1, .. }) = consumer.pull(9).await.unwrap()
    else {
        panic!("a break")
    };
    consumer.start(vec![Start { partition: 0, offset: 2, epoch: 2 }]).await.unwrap();
    let Pulled::Deliveries(deliveries) = consumer.pull(9).await.unwrap() else { panic!("deliveries next") };
    assert_eq!(deliveries.iter().map(|delivery| delivery.place.offset).collect::<Vec<_>>(), [2]);
}
