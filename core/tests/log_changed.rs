//! A log that is not the one that was read: its partition halts, the others go on, and an operator's word
//! sets it going again without a restart (rule L2).

#![expect(clippy::unwrap_used, reason = "a fault of the stage is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use keylane::broker::{Broker, Outgoing};
use keylane::env::Env;
use keylane::event::Record;
use keylane::memory::{Memory, MemoryBroker};
use keylane::store::{
    ClaimAnswer, ClaimCommit, ClaimRequest, CommitGroup, HoldCommit, NewSession, ReadFrom, Scope, SessionId,
    Store, Witness,
};
use keylane::watermark::Watermark;
use keylane::{Effects, Failure, Handle, RawEvent, Routes, Runtime, State, Tx};
use tokio::sync::watch;

use crate::conformance::clock::Virtual;

/// Each key's partition.
const KEYS: [&str; 2] = ["a", "b"];

/// In virtual time; a renewal is less away.
const SOON: Duration = Duration::from_secs(10);

/// Broker and store, which outlive the service.
struct Stage {
    env: Env,
    broker: MemoryBroker,
    memory: Memory,
    /// Closed: the handler of `slow` waits.
    gate: watch::Sender<bool>,
    ledger: &'static str,
}

async fn note(
    event: RawEvent,
    State(gate): State<watch::Sender<bool>>,
    mut fx: Effects<Memory>,
) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(&event).into_owned();
    if text.starts_with("bad") {
        return Err(Failure::new("never").permanent());
    }
    if text.starts_with("slow") {
        let mut gate = gate.subscribe();
        drop(gate.wait_for(|open| *open).await);
    }
    fx.commit_with(text, async |mut tx: Tx<Memory>, text: String| {
        tx.append("rows", text);
        tx.done()
    });
    Ok(())
}

impl Stage {
    fn new(ledger: &'static str) -> Self {
        let env = Env::new(Virtual::new());
        let broker = MemoryBroker::new();
        broker.create("orders", 2);
        Self { memory: Memory::with_clock(&env), env, broker, gate: watch::Sender::new(true), ledger }
    }

    /// Starts a worker and lets it do what it can.
    async fn start(&self) -> Handle {
        let toml = format!(
            "[store.memory]\n[broker.main.memory]\n[subscription.billing]\nsource = \"orders\"\n\
             [subscription.billing.ledger]\nmode = \"{}\"\n[subscription.billing.event]\nid = \"header:id\"\n\
             kind = \"const:order\"\n[subscription.billing.retry]\non_exhausted = \"skip\"\n",
            self.ledger
        );
        let runtime = Runtime::from_text(toml).env(self.env.clone()).store(self.memory.clone());
        let routes = Routes::new().all(note).with_state(self.gate.clone());
        let handle =
            runtime.broker(self.broker.clone()).subscription("billing", routes).start().await.unwrap();
        self.pass().await;
        handle
    }

    async fn stop(&self, handle: Handle) {
        handle.shutdown();
        handle.join().await.unwrap();
    }

    async fn pass(&self) {
        self.env.sleep(SOON).await;
    }

    /// One event of each text for each key.
    async fn publish(&self, texts: &[&str]) {
        let worker: Arc<dyn Broker> = self.broker.worker(&self.env);
        let publisher = worker.publisher().await.unwrap();
        for text in texts.iter().flat_map(|text| KEYS.map(|key| (*text, key))) {
            let (text, key) = (format!("{}-{}", text.0, text.1), text.1);
            let record = Record::new(text.clone()).with_key(key).with_header("id", text);
            let outgoing = Outgoing { target: "orders".to_owned(), record };
            publisher.publish(vec![outgoing]).await.pop().unwrap().unwrap();
        }
    }

    /// What was handled of a key, in order.
    async fn rows(&self, key: &str) -> Vec<String> {
        let rows =
            self.memory.rows("rows").await.into_iter().map(|row| String::from_utf8(row.into()).unwrap());
        rows.filter(|row| row.ends_with(key)).collect()
    }
}

fn scope() -> Scope {
    Scope { subscription: "billing".into(), broker: "main".into(), source: "orders".into() }
}

/// The partitions that wait for an operator; each says what to do.
fn halted(handle: &Handle) -> Vec<u32> {
    assert_eq!(handle.ready(), handle.halted().is_empty(), "readiness says so");
    let halted = handle.halted();
    assert!(halted.iter().all(|halted| halted.why.contains("`Admin::reposition`")), "{halted:?}");
    halted.iter().map(|halted| halted.partition).collect()
}

#[tokio::test]
async fn l2_what_expired_halts_its_partition_until_an_operator_accepts_it() {
    let stage = Stage::new("position");
    stage.publish(&["1", "2"]).await;
    let handle = stage.start().await;
    stage.stop(handle).await;
    stage.publish(&["3", "4", "5"]).await;
    stage.broker.expire("orders", 0, 4);

    let handle = stage.start().await;
    assert_eq!(halted(&handle), [0]);
    assert_eq!(stage.rows("a").await, ["1-a", "2-a"]);
    assert_eq!(stage.rows("b").await, ["1-b", "2-b", "3-b", "4-b", "5-b"], "the other partition goes on");
    // Time alone changes nothing.
    stage.env.sleep(SOON * 100).await;
    assert_eq!(halted(&handle), [0]);

    // An order that the log can't follow halts it again.
    let admin = handle.admin();
    assert_eq!(admin.reposition(scope(), Some(0), ReadFrom::Offset(99)).await.unwrap(), [0]);
    stage.pass().await;
    assert_eq!(halted(&handle), [0]);
    assert!(handle.halted()[0].why.contains("offset 99"), "{:?}", handle.halted());

    assert_eq!(admin.reposition(scope(), Some(0), ReadFrom::Offset(4)).await.unwrap(), [0]);
    stage.pass().await;
    assert_eq!(halted(&handle), [0; 0]);
    assert_eq!(stage.rows("a").await, ["1-a", "2-a", "5-a"]);
    stage.publish(&["6"]).await;
    stage.pass().await;
    stage.stop(handle).await;
    let handle = stage.start().await;
    assert_eq!(stage.rows("a").await, ["1-a", "2-a", "5-a", "6-a"], "each once, over another start");
    assert_eq!(stage.rows("b").await, ["1-b", "2-b", "3-b", "4-b", "5-b", "6-b"]);
    stage.stop(handle).await;
}

#[tokio::test]
async fn l2_a_recreated_topic_halts_until_an_operator_takes_it_as_a_new_one() {
    let stage = Stage::new("id");
    stage.publish(&["1", "bad-2", "3"]).await;
    let handle = stage.start().await;
    stage.stop(handle).await;
    stage.broker.delete("orders");
    stage.broker.create("orders", 2);
    // One event again, and a bad one at the place of the old one.
    stage.publish(&["3", "bad-4", "5", "6"]).await;

    let handle = stage.start().await;
    assert_eq!(halted(&handle), [0, 1]);
    assert_eq!(stage.rows("a").await, ["1-a", "3-a"]);
    let found = handle.admin().reposition(scope(), None, ReadFrom::Earliest).await.unwrap();
    assert_eq!(found, [0, 1]);
    stage.pass().await;
    assert_eq!(halted(&handle), [0; 0]);
    for key in KEYS {
        let all = ["1", "3", "5", "6"].map(|text| format!("{text}-{key}"));
        assert_eq!(stage.rows(key).await, all, "what was finished before is known by its id");
    }
    let dead = handle.admin().dead_letters("billing", None, 10).await.unwrap();
    let mut dead: Vec<_> = dead.iter().map(|dead| (dead.id.as_str(), dead.offset)).collect();
    dead.sort_unstable();
    assert_eq!(
        dead,
        [("bad-2-a", 1), ("bad-2-b", 1), ("bad-4-a", 1), ("bad-4-b", 1)],
        "none in another's place"
    );
    stage.stop(handle).await;
}

/// Retention overtakes a reader while it runs: what it has is handled, what is gone is not passed over.
#[tokio::test]
async fn l2_a_reader_that_is_overtaken_halts_its_partition_and_no_other() {
    let stage = Stage::new("position");
    let handle = stage.start().await;
    stage.gate.send_replace(false);
    stage.publish(&["slow-1"]).await;
    stage.pass().await;
    // All at once: nobody pulls in between.
    stage.publish(&["2", "3", "4"]).await;
    stage.broker.expire("orders", 0, 3);
    stage.pass().await;
    assert_eq!(halted(&handle), [0]);
    assert!(handle.is_running() && handle.halted()[0].why.contains("from 1 on"), "{:?}", handle.halted());
    stage.gate.send_replace(true);
    stage.pass().await;
    assert_eq!(stage.rows("a").await, ["slow-1-a"], "what was read before is handled");
    assert_eq!(stage.rows("b").await, ["slow-1-b", "2-b", "3-b", "4-b"], "the other partition goes on");
    assert_eq!(stage.broker.committed("orders", "billing", 0), Some(1));
    stage.publish(&["5"]).await;
    stage.pass().await;
    assert_eq!(halted(&handle), [0]);

    let found = handle.admin().reposition(scope(), Some(0), ReadFrom::Earliest).await.unwrap();
    assert_eq!(found, [0]);
    stage.pass().await;
    assert_eq!(halted(&handle), [0; 0]);
    assert_eq!(stage.rows("a").await, ["slow-1-a", "4-a", "5-a"]);
    stage.stop(handle).await;
}

/// The topic is deleted and made anew under a reader that runs.
#[tokio::test]
async fn l2_a_topic_recreated_under_its_reader_halts_until_an_operator_takes_it_as_a_new_one() {
    let stage = Stage::new("id");
    let handle = stage.start().await;
    stage.publish(&["1", "2"]).await;
    stage.pass().await;
    assert_eq!(stage.rows("a").await, ["1-a", "2-a"]);
    stage.broker.delete("orders");
    stage.broker.create("orders", 2);
    stage.publish(&["2", "3", "4"]).await;
    stage.pass().await;
    assert!(handle.is_running());
    assert_eq!(halted(&handle), [0, 1]);
    assert_eq!(stage.rows("a").await, ["1-a", "2-a"]);
    let found = handle.admin().reposition(scope(), None, ReadFrom::Earliest).await.unwrap();
    assert_eq!(found, [0, 1]);
    stage.pass().await;
    assert_eq!(halted(&handle), [0; 0]);
    for key in KEYS {
        assert_eq!(stage.rows(key).await, ["1", "2", "3", "4"].map(|text| format!("{text}-{key}")));
    }
    stage.stop(handle).await;
}

/// Found not at the claim but at the first record that was read.
#[tokio::test]
async fn l2_another_record_at_the_witness_halts_until_an_operator_accepts_it() {
    let stage = Stage::new("position");
    stage.publish(&["1", "2"]).await;
    let handle = stage.start().await;
    stage.stop(handle).await;
    another_record_was_handled(&stage).await;
    stage.publish(&["3"]).await;

    let handle = stage.start().await;
    assert_eq!(halted(&handle), [0]);
    assert_eq!(stage.rows("a").await, ["1-a", "2-a"]);
    assert_eq!(stage.rows("b").await, ["1-b", "2-b", "3-b"]);
    handle.admin().reposition(scope(), Some(0), ReadFrom::Offset(2)).await.unwrap();
    stage.pass().await;
    assert_eq!(halted(&handle), [0; 0]);
    assert_eq!(stage.rows("a").await, ["1-a", "2-a", "3-a"]);
    stage.stop(handle).await;
}

/// Writes into partition 0's position that the record below it was another one.
async fn another_record_was_handled(stage: &Stage) {
    let store: Arc<dyn Store> = stage.memory.worker(&stage.env);
    let session = SessionId(stage.env.uuid());
    let lifetime = SOON;
    store.register(NewSession { id: session, worker: "w".to_owned(), lifetime }).await.unwrap();
    let request = ClaimRequest { session, scope: scope(), partition: 0, handover_limit: lifetime };
    let ClaimAnswer::Granted(claim) = store.claim(request).await.unwrap() else { panic!("it is free") };
    let position = claim.position.unwrap();
    let known = position.witness.unwrap();
    let commit = ClaimCommit {
        claim: claim.claim,
        watermark: Watermark::restore(position.base, &position.sparse, 64).unwrap(),
        witness: Some(Witness { hash: !known.hash, ..known }),
        identity: position.identity,
        partitions: position.partitions,
    };
    store
        .commit(&CommitGroup { session, holds: vec![HoldCommit::Claim(Box::new(commit))], units: Vec::new() })
        .await
        .unwrap();
    store.close_session(session).await.unwrap();
}

#[tokio::test]
async fn c1_what_runs_while_its_partition_is_repositioned_leaves_no_trace() {
    let stage = Stage::new("position");
    stage.publish(&["1", "slow-2", "3"]).await;
    stage.gate.send_replace(false);
    let handle = stage.start().await;
    assert_eq!(stage.rows("a").await, ["1-a"]);
    handle.admin().reposition(scope(), Some(0), ReadFrom::Earliest).await.unwrap();
    // The handlers that wait end with their results before the worker heard of it.
    stage.gate.send_replace(true);
    stage.pass().await;
    assert_eq!(stage.rows("a").await, ["1-a", "1-a", "slow-2-a", "3-a"], "from the beginning, as ordered");
    assert_eq!(stage.rows("b").await, ["1-b", "slow-2-b", "3-b"], "once, as nobody moved it");

    // The same with nothing in flight: no commit tells the worker.
    handle.admin().reposition(scope(), Some(1), ReadFrom::Offset(2)).await.unwrap();
    stage.pass().await;
    assert_eq!(stage.rows("b").await, ["1-b", "slow-2-b", "3-b", "3-b"]);
    assert_eq!(halted(&handle), [0; 0]);
    stage.stop(handle).await;
}
