//! Whole runtimes: two workers share one queue, and the link of one is cut while it works.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use keylane::broker::Outgoing;
use keylane::event::Record;
use keylane::memory::Memory;
use keylane::{Effects, Failure, Handle, RawEvent, Routes, Runtime, State, Tx};
use keylane_rabbitmq::RabbitMq;
use tokio::time::timeout;

use crate::server::{Admin, PATIENCE, config, connect, link, server};

const KEYS: usize = 12;
const EVENTS: usize = 360;

#[derive(Clone, Default)]
struct Seen {
    running: Arc<Mutex<BTreeMap<Bytes, usize>>>,
    overlaps: Arc<AtomicUsize>,
}

/// Works for a moment, and writes down which event it was.
async fn handle(event: RawEvent, State(seen): State<Seen>, mut fx: Effects<Memory>) -> Result<(), Failure> {
    let key = event.meta().key.clone().expect("every event has a key");
    let inside = Inside::of(&seen, key);
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    fx.commit_with(event.meta().id.to_string(), async |mut tx: Tx<Memory>, id: String| {
        tx.append("effects", id);
        tx.done()
    });
    drop(inside);
    Ok(())
}

/// Is in the middle of an event of a key.
struct Inside<'a>(&'a Seen, Bytes);

impl<'a> Inside<'a> {
    fn of(seen: &'a Seen, key: Bytes) -> Self {
        let mut running = seen.running.lock().unwrap();
        let now = running.entry(key.clone()).or_default();
        *now += 1;
        seen.overlaps.fetch_add(usize::from(*now > 1), Ordering::Relaxed);
        Self(seen, key)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap().get_mut(&self.1).unwrap() -= 1;
    }
}

async fn worker(uri: &str, queue: &str, memory: &Memory, seen: &Seen) -> Handle {
    let toml = format!(
        r#"
        [runtime]
        session = "6s"
        grace = "1s"
        handover_max = "8s"
        [store.memory]
        [broker.main.rabbitmq]
        uri = "{uri}"
        heartbeat = "2s"
        reconnect_max = "500ms"
        [subscription.service]
        source = "{queue}"
        concurrency = 8
        budget = {{ messages_max = 40, waiting_max = 40 }}
        [subscription.service.event]
        kind = "const:tick"
        [subscription.service.rabbitmq]
        delivery_limit = "none"
        "#
    );
    let routes = Routes::new().all(handle).with_state(seen.clone());
    let runtime = Runtime::from_text(&toml).broker(RabbitMq).store(memory.clone());
    runtime.subscription("service", routes).start().await.unwrap()
}

#[tokio::test]
async fn an_ordered_subscription_has_to_say_what_becomes_of_an_exhausted_event() {
    let Some(uri) = server() else { return };
    let exchange = Admin::new(&uri).await.ordered("quorum", 2).await;
    let start = async |queues: &str, exhausted: &str| {
        let toml = format!(
            "[store.memory]\n[broker.main.rabbitmq]\nuri = \"{uri}\"\n[subscription.service]\n\
             source = \"/exchanges/{exchange}\"\n[subscription.service.retry]\n{exhausted}\n\
             [subscription.service.rabbitmq]\ndelivery_limit = \"none\"\n{queues}"
        );
        let routes = Routes::new().all(handle).with_state(Seen::default());
        let runtime = Runtime::from_text(&toml).broker(RabbitMq).store(Memory::new());
        runtime.subscription("service", routes).start().await
    };
    let Err(error) = start("queues = 2", "").await else { panic!("its order has no word for that") };
    let error = error.to_string();
    assert!(error.contains("on_exhausted") && error.contains("keeps an order"), "{error}");
    start("queues = 2", "on_exhausted = \"skip\"").await.expect("said").abandon();
}

async fn publish(uri: &str, queue: &str) {
    let publisher = connect(config(uri)).await.publisher().await.unwrap();
    let out = |number: usize| {
        let record = Record::new("tick").with_key(format!("k{}", number % KEYS));
        Outgoing {
            target: queue.to_owned(),
            record: Record { id: Some(format!("e{number}").into()), ..record },
        }
    };
    let results = publisher.publish((0..EVENTS).map(out).collect()).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

/// Until so many effects are there.
async fn until_effects(memory: &Memory, count: usize) {
    let there = async {
        while memory.rows("effects").await.len() < count {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, there).await.unwrap_or_else(|_| panic!("{count} effects in time"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_on_one_queue_overlap_nowhere_and_write_each_effect_once() {
    let Some(uri) = server() else { return };
    let Some((proxy, through)) = link(&uri) else { return };
    let admin = Admin::new(&uri).await;
    let queue = admin.queue("quorum", &[]).await;
    let (memory, seen) = (Memory::new(), Seen::default());
    let workers =
        [worker(&through, &queue, &memory, &seen).await, worker(&uri, &queue, &memory, &seen).await];
    publish(&uri, &queue).await;
    until_effects(&memory, 20).await;
    proxy.cut();
    until_effects(&memory, 100).await;
    proxy.mend();
    until_effects(&memory, EVENTS).await;
    for worker in &workers {
        worker.shutdown();
    }
    for worker in workers {
        timeout(PATIENCE, worker.join()).await.expect("it drains").unwrap();
    }
    let rows = memory.rows("effects").await;
    let once: BTreeSet<_> = rows.iter().collect();
    assert_eq!((rows.len(), once.len()), (EVENTS, EVENTS), "each effect once");
    assert_eq!(seen.overlaps.load(Ordering::Relaxed), 0, "two handlers of one key at a time");
    admin.ready_becomes(&queue, 0).await;
}
