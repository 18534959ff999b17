//! What a lane is: rules L3 and S8.
#![expect(clippy::unwrap_used, reason = "a story that can't be told has failed")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keylane::broker::{Broker, Outgoing};
use keylane::event::Record;
use keylane::memory::{Memory, MemoryBroker, MemoryQueues};
use keylane::testing::Service;
use keylane::{Failure, RawEvent, Routes, Runtime, State};

use super::paused::Clock;

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

async fn first_is_away(event: RawEvent, State(seen): State<Seen>) -> Result<(), Failure> {
    let payload = String::from_utf8_lossy(&event).into_owned();
    seen.0.lock().unwrap().push(payload.clone());
    if payload == "away" { Err(Failure::new("away").unavailable()) } else { Ok(()) }
}

/// How many of eight events are handled while the first backs off; all have this key, or none.
async fn handled_behind_one_that_is_away(key: Option<&'static str>) -> usize {
    let seen = Seen::default();
    let routes = Routes::new().all(first_is_away).with_state(seen.clone());
    // One shard and one place after the other: nothing but their lanes keeps them apart.
    let service = Service::configured(routes, "concurrency = 1\nledger.mode = \"position\"").await;
    let payloads = std::iter::once("away".to_owned()).chain((0..8).map(|n| format!("next {n}")));
    for payload in payloads {
        let record =
            Record::new(payload.clone()).with_header("ce_specversion", "1.0").with_header("ce_type", "kind");
        let record = record.with_header("ce_source", "test").with_header("ce_id", payload);
        service.publish_record(key.map_or(record.clone(), |key| record.with_key(key))).await;
    }
    service.pass(Duration::from_secs(60)).await;
    assert!(service.dead_letters().await.is_empty());
    let seen = seen.0.lock().unwrap();
    seen.iter().filter(|payload| *payload != "away").count()
}

#[tokio::test]
async fn l3_an_event_without_a_key_is_a_lane_of_its_own() {
    assert_eq!(handled_behind_one_that_is_away(None).await, 8, "one without a key waited for another");
    assert_eq!(handled_behind_one_that_is_away(Some("key")).await, 0, "one passed another of its key");
}

#[tokio::test]
async fn s8_a_key_from_elsewhere_than_the_broker_is_refused() {
    let broker = MemoryBroker::new();
    broker.create("orders", 1);
    let toml = "[store.memory]\n[broker.main.memory]\n[subscription.orders]\nsource = \"orders\"\n\
                retry.on_exhausted = \"skip\"\nevent.key = \"payload:/customer\"\n";
    let runtime = Runtime::from_text(toml).store(Memory::new()).broker(broker);
    let routes = Routes::new().all(first_is_away).with_state(Seen::default());
    let error = runtime.subscription("orders", routes).start().await.unwrap_err().to_string();
    assert!(error.contains("event.key") && error.contains("leases"), "{error}");
}

#[tokio::test]
async fn s8_without_partitions_a_key_is_leased_wherever_it_is_read_from() {
    let clock = Clock::paused();
    let env = clock.env(0);
    let queues = MemoryQueues::new();
    queues.create("orders");
    let publisher = queues.worker(&env).publisher().await.unwrap();
    let payloads = std::iter::once(r#"{"c":1,"n":"away"}"#.to_owned());
    let payloads = payloads.chain((0..8).map(|n| format!(r#"{{"c":{},"n":{n}}}"#, n % 2)));
    let batch = payloads.enumerate().map(|(at, payload)| Outgoing {
        target: "orders".into(),
        record: Record::new(payload).with_header("id", at.to_string()).with_header("kind", "tick"),
    });
    for published in publisher.publish(batch.collect()).await {
        published.unwrap();
    }
    let toml = "[store.memory]\n[broker.main.memory_queues]\n[subscription.orders]\nsource = \"orders\"\n\
                event = { format = \"plain\", id = \"header:id\", kind = \"header:kind\", key = \"payload:/c\" }\n";
    let runtime = Runtime::from_text(toml).env(env.clone()).store(Memory::with_clock(&env)).broker(queues);
    let seen = Seen::default();
    let routes = Routes::new().all(first_of_its_key_is_away).with_state(seen.clone());
    let _handle = runtime.subscription("orders", routes).start().await.unwrap();
    clock.pass(Duration::from_secs(30)).await;
    let seen = seen.0.lock().unwrap();
    let handled: Vec<_> = seen.iter().filter(|payload| !payload.contains("away")).collect();
    assert_eq!(handled.len(), 4, "the other key goes on, and nothing of this one: {handled:?}");
}

async fn first_of_its_key_is_away(event: RawEvent, State(seen): State<Seen>) -> Result<(), Failure> {
    let payload = String::from_utf8_lossy(&event).into_owned();
    seen.0.lock().unwrap().push(payload.clone());
    if payload.contains("away") { Err(Failure::new("away").unavailable()) } else { Ok(()) }
}
