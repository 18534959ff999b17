//! What ends while the write of an earlier event of its key fails.
#![expect(clippy::unwrap_used, reason = "a story that can't be told has failed")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use keylane::memory::Memory;
use keylane::testing::Service;
use keylane::{Effects, Failure, RawEvent, Routes, State, Tx};

#[derive(Clone, Default)]
struct Diary {
    started: Arc<Mutex<Vec<String>>>,
    failing: Arc<AtomicU32>,
    refused: Arc<AtomicU32>,
    quiet: Arc<AtomicU32>,
}

/// `!`: its write fails as often as `failing` says. `?`: refused at first. `-`: writes nothing at first.
async fn handle(event: RawEvent, State(diary): State<Diary>, mut fx: Effects<Memory>) -> Result<(), Failure> {
    let row = String::from_utf8_lossy(&event).into_owned();
    diary.started.lock().unwrap().push(row.clone());
    let once = |left: &AtomicU32| {
        left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok()
    };
    if row.ends_with('?') && once(&diary.refused) {
        return Err(Failure::new("refused").permanent());
    }
    if row.ends_with('-') && once(&diary.quiet) {
        return Ok(());
    }
    let failing = diary.failing.clone();
    fx.commit_with((row, failing), async |mut tx: Tx<Memory>, (row, failing): (String, Arc<AtomicU32>)| {
        let fails = row.ends_with('!')
            && failing.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok();
        if fails {
            return Err(Failure::new("the write fails"));
        }
        tx.append("rows", row);
        tx.done()
    });
    Ok(())
}

async fn run(toml: &str, rows: &[&str]) -> (Vec<String>, Vec<String>, usize) {
    let diary = Diary::default();
    diary.failing.store(1, Ordering::Release);
    diary.refused.store(1, Ordering::Release);
    diary.quiet.store(1, Ordering::Release);
    let service = Service::configured(Routes::new().all(handle).with_state(diary.clone()), toml).await;
    for row in rows {
        service.publish("a", "kind", (*row).to_owned()).await;
    }
    service.settled().await;
    let started = diary.started.lock().unwrap().clone();
    (service.effects("rows").await, started, service.dead_letters().await.len())
}

/// A dead letter in the group of a failed predecessor is `Behind`: it must not come back after its successors.
#[tokio::test]
async fn c5_with_ahead_a_dead_letter_behind_a_failed_write_does_not_run_after_its_successors() {
    let (rows, started, dead) = run("ahead = true", &["a1!", "a2?", "a3", "a4", "a5"]).await;
    let mut sorted = rows.clone();
    sorted.sort();
    assert_eq!(rows, sorted, "writes out of order; {dead} dead, started {started:?}");
}

/// The same for an event that recorded nothing at first.
#[tokio::test]
async fn c5_with_ahead_an_event_without_writes_behind_a_failed_one_does_not_run_after_its_successors() {
    let (rows, started, dead) = run("ahead = true", &["a1!", "a2-", "a3", "a4", "a5"]).await;
    let mut sorted = rows.clone();
    sorted.sort();
    assert_eq!(rows, sorted, "writes out of order; {dead} dead, started {started:?}");
}

/// Duplicates that wait for a failing twin count as in flight: they use up what the other keys run on.
#[tokio::test]
async fn a_failing_event_with_many_duplicates_leaves_the_other_keys_going() {
    async fn away(event: RawEvent, mut fx: Effects<Memory>) -> Result<(), Failure> {
        let row = String::from_utf8_lossy(&event).into_owned();
        if row == "bad" {
            return Err(Failure::new("away").unavailable());
        }
        fx.commit_with(row, async |mut tx: Tx<Memory>, row: String| {
            tx.append("rows", row);
            tx.done()
        });
        Ok(())
    }
    let toml = "concurrency = 2\nbudget = { messages_max = 10, waiting_max = 1000 }";
    let service = Service::configured(Routes::new().all(away), toml).await;
    for _ in 0..30 {
        service.publish_as("the-same", "bad", "kind", "bad").await;
    }
    for number in 0..20 {
        service.publish(&format!("good-{number}"), "kind", number.to_string()).await;
    }
    service.pass(std::time::Duration::from_secs(60)).await;
    assert_eq!(service.effects("rows").await.len(), 20);
}

mod marks {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use keylane::broker::{Broker, Outgoing};
    use keylane::env::Env;
    use keylane::event::Record;
    use keylane::memory::{Memory, MemoryBroker};
    use keylane::store::{ClaimRequest, NewSession, Scope, SessionId, Store};
    use keylane::{Effects, Failure, RawEvent, Routes, Runtime, State, Tx};

    use crate::conformance::clock::Virtual;

    async fn write(
        event: RawEvent,
        State(away): State<Arc<AtomicBool>>,
        mut fx: Effects<Memory>,
    ) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(&event).into_owned();
        fx.commit_with((text, away), async |mut tx: Tx<Memory>, (text, away): (String, Arc<AtomicBool>)| {
            if text.ends_with('!') && away.load(Ordering::Acquire) {
                return Err(Failure::new("away").unavailable());
            }
            tx.append("rows", text);
            tx.done()
        });
        Ok(())
    }

    /// T1 with `ahead`: an event that is marked and then put behind a failed one keeps its place for ever.
    #[tokio::test]
    async fn t1_with_ahead_a_failed_write_after_an_unclean_end_leaves_the_other_keys_going() {
        let env = Env::new(Virtual::new());
        let broker = MemoryBroker::new();
        broker.create("orders", 1);
        let memory = Memory::with_clock(&env);
        // Somebody had the partition and died.
        let store: Arc<dyn Store> = memory.worker(&env);
        let session = SessionId(env.uuid());
        let lifetime = Duration::from_secs(3);
        store.register(NewSession { id: session, worker: "dead".into(), lifetime }).await.unwrap();
        let scope = Scope { subscription: "billing".into(), broker: "main".into(), source: "orders".into() };
        let handover_limit = Duration::from_secs(30);
        store.claim(ClaimRequest { session, scope, partition: 0, handover_limit }).await.unwrap();
        env.sleep(Duration::from_secs(10)).await;

        let worker: Arc<dyn Broker> = broker.worker(&env);
        let publisher = worker.publisher().await.unwrap();
        for text in ["a1!", "a2", "b1", "c1", "d1"] {
            let record = Record::new(text).with_key(text[..1].to_owned());
            let outgoing = Outgoing { target: "orders".to_owned(), record };
            publisher.publish(vec![outgoing]).await.pop().unwrap().unwrap();
        }
        let toml = "[runtime]\nshards = 1\n[store.memory]\n[broker.main.memory]\n[subscription.billing]\n\
             source = \"orders\"\nahead = true\nconcurrency = 1\n[subscription.billing.event]\n\
             kind = \"const:order\"\n[subscription.billing.retry]\non_exhausted = \"skip\"\n";
        let away = Arc::new(AtomicBool::new(true));
        let _handle = Runtime::from_text(toml)
            .env(env.clone())
            .store(memory.clone())
            .broker(broker.clone())
            .subscription("billing", Routes::new().all(write).with_state(away.clone()))
            .start()
            .await
            .unwrap();
        env.sleep(Duration::from_secs(120)).await;
        let others = memory.rows("rows").await.len();
        away.store(false, Ordering::Release);
        env.sleep(Duration::from_secs(600)).await;
        let all = memory.rows("rows").await.len();
        assert_eq!((others, all), (3, 5), "(other keys while one is away, all after it is back)");
    }
}
