//! One event's whole journey, on the embedded log with the memory store as witness.

use keylane::broker::Outgoing;
use keylane::event::Record;
use keylane::memory::Memory;
use keylane::store::{Death, Reason};
use keylane::{Context, Effects, Failure, Handle, RawEvent, Routes, Runtime, Tx};
use keylane_log::Log;
use keylane_sqlite::Sqlite;

const EVENTS: u64 = 2_000;
const KEYS: u64 = 40;

/// One in fifty fails at first, one in a hundred for good.
async fn note(event: RawEvent, mut fx: Effects<Memory>, cx: Context) -> Result<(), Failure> {
    let number: u64 = std::str::from_utf8(&event)?.parse()?;
    if number % 50 == 7 && cx.attempt() == 1 {
        return Err(Failure::new("the first try fails"));
    }
    if number % 100 == 3 {
        return Err(Failure::new("never").permanent());
    }
    fx.commit_with(number, async |mut tx: Tx<Memory>, number: u64| {
        tx.append("effects", number.to_string());
        tx.done()
    });
    Ok(())
}

async fn publish(handle: &Handle) {
    let publisher = handle.publisher("main").await.unwrap();
    let record = |number: u64| Record::new(number.to_string()).with_key(format!("k{}", number % KEYS));
    let batch = (0..EVENTS).map(|number| Outgoing { target: "orders".into(), record: record(number) });
    for published in publisher.publish(batch.collect()).await {
        published.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_of_the_log_has_one_effect_in_key_order_or_is_a_dead_letter() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log.db");
    let toml = format!(
        r#"
        [store.memory]
        [broker.main.log]
        path = {file:?}
        streams = ["orders"]
        [subscription.orders]
        source = "orders"
        [subscription.orders.retry]
        on_exhausted = "skip"
        delay = "5ms"
        "#
    );
    let memory = Memory::new();
    let runtime = Runtime::from_text(toml).store(memory.clone()).broker(Log::on(Sqlite));
    let handle = runtime.subscription("orders", Routes::new().all(note)).start().await.unwrap();
    publish(&handle).await;

    // Polled with a limit; each look waits for a commit that may be running.
    let (mut effects, mut dead) = (Vec::new(), Vec::new());
    for _ in 0..2_000 {
        effects = memory.rows("effects").await;
        dead = handle.admin().dead_letters("orders", None, 1_000).await.unwrap();
        if (effects.len() + dead.len()) as u64 >= EVENTS {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    handle.shutdown();
    handle.join().await.unwrap();

    assert_eq!((effects.len() as u64, dead.len() as u64), (EVENTS - EVENTS / 100, EVENTS / 100));
    assert!(dead.iter().all(|dead| dead.reason == Reason::Dead(Death::Rejected)));
    let mut last = vec![None; KEYS as usize];
    for effect in &effects {
        let number: u64 = std::str::from_utf8(effect).unwrap().parse().unwrap();
        let before = last[(number % KEYS) as usize].replace(number);
        assert!(before < Some(number), "{number} came after {before:?}");
    }
}
