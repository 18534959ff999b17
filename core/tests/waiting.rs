//! What waits for its next attempt counts apart from what is in flight (design, promise 4: other keys go on).

use std::time::Duration;

use keylane::memory::Memory;
use keylane::testing::Service;
use keylane::{Effects, Failure, RawEvent, Routes, Tx};

/// Key `bad` fails for an hour; everything else is written.
async fn handle(event: RawEvent, mut fx: Effects<Memory>) -> Result<(), Failure> {
    let key = event.meta().key_text().unwrap_or_default();
    if key == "bad" && !std::str::from_utf8(&event)?.starts_with("mended") {
        return Err(Failure::new("away").unavailable());
    }
    let row = format!("{key}/{}", std::str::from_utf8(&event)?);
    fx.commit_with(row, async |mut tx: Tx<Memory>, row: String| {
        tx.append("rows", row);
        tx.done()
    });
    Ok(())
}

async fn service(budget: &str) -> Service {
    Service::configured(Routes::new().all(handle), &format!("concurrency = 2\nbudget = {{ {budget} }}")).await
}

async fn publish_bad_and_good(service: &Service, bad: usize) {
    for number in 0..bad {
        service.publish("bad", "kind", number.to_string()).await;
    }
    for number in 0..40 {
        // Keys of both partitions, that of `bad` among them.
        service.publish(&format!("good-{}", number % 8), "kind", number.to_string()).await;
    }
}

#[tokio::test]
async fn a_failing_key_with_a_backlog_beyond_every_budget_leaves_its_partition_going() {
    let service = service("messages_max = 10, per_key_max = 4, waiting_max = 1000").await;
    publish_bad_and_good(&service, 300).await;
    service.pass(Duration::from_secs(60)).await;
    assert_eq!(service.effects("rows").await.len(), 40);
}

#[tokio::test]
async fn at_its_cap_what_waits_pauses_the_source_and_nothing_is_lost() {
    let service = service("messages_max = 10, waiting_max = 20").await;
    publish_bad_and_good(&service, 300).await;
    service.pass(Duration::from_secs(60)).await;
    let rows = service.effects("rows").await.len();
    assert!(rows < 40, "the source went on beyond the cap: {rows}");
}

#[tokio::test]
async fn bytes_that_wait_have_a_cap_as_well() {
    let service = service("messages_max = 10, waiting_max = 100000, waiting_bytes_max = \"1KiB\"").await;
    publish_bad_and_good(&service, 300).await;
    service.pass(Duration::from_secs(60)).await;
    let rows = service.effects("rows").await.len();
    assert!(rows < 40, "the source went on beyond the cap: {rows}");
}

#[tokio::test]
async fn a_key_that_is_well_again_brings_its_backlog_in_order() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use keylane::State;

    async fn sick_at_first(
        event: RawEvent,
        State(tries): State<Arc<AtomicU32>>,
        mut fx: Effects<Memory>,
    ) -> Result<(), Failure> {
        if tries.fetch_add(1, Ordering::Relaxed) < 50 {
            return Err(Failure::new("away").unavailable());
        }
        let row = std::str::from_utf8(&event)?.to_owned();
        fx.commit_with(row, async |mut tx: Tx<Memory>, row: String| {
            tx.append("rows", row);
            tx.done()
        });
        Ok(())
    }

    let routes = Routes::new().all(sick_at_first).with_state(Arc::new(AtomicU32::new(0)));
    let toml = "budget = { messages_max = 64, per_key_max = 4, waiting_max = 100 }";
    let service = Service::configured(routes, toml).await;
    let rows: Vec<String> = (0..400).map(|n| n.to_string()).collect();
    for row in &rows {
        service.publish("one", "kind", row.clone()).await;
    }
    service.settled().await;
    assert_eq!(service.effects("rows").await, rows);
}
