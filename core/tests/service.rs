//! What a service's own tests look like, and the runtime's behaviour seen through them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use keylane::event::Record;
use keylane::memory::Memory;
use keylane::store::{Death, Reason};
use keylane::testing::Service;
use keylane::{Batch, Context, Effects, Event, Failure, RawEvent, Routes, State, Tx};

#[derive(Clone, Default)]
struct Calls(Arc<AtomicU32>);

impl Calls {
    fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
    fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

fn append(fx: &mut Effects<Memory>, row: String) {
    fx.commit_with(row, async |mut tx: Tx<Memory>, row: String| {
        tx.append("rows", row);
        tx.done()
    });
}

async fn flaky(
    event: RawEvent,
    State(calls): State<Calls>,
    mut fx: Effects<Memory>,
    cx: Context,
) -> Result<(), Failure> {
    calls.next();
    if cx.attempt() < 3 {
        return Err(Failure::new("not yet"));
    }
    append(&mut fx, format!("{} attempt {}", String::from_utf8_lossy(&event), cx.attempt()));
    Ok(())
}

#[tokio::test]
async fn a_failed_try_is_repeated_in_its_lane_and_later_events_of_the_key_wait() {
    let calls = Calls::default();
    let service = Service::start(Routes::new().all(flaky).with_state(calls.clone())).await;
    for n in 1..=3 {
        service.publish("key", "kind", format!("event {n}")).await;
    }
    service.settled().await;
    assert_eq!(
        service.effects("rows").await,
        ["event 1 attempt 3", "event 2 attempt 3", "event 3 attempt 3"]
    );
    assert_eq!(calls.count(), 9);
}

#[tokio::test]
async fn attempts_end_and_the_dead_letter_says_why() {
    async fn never(_: RawEvent) -> Result<(), Failure> {
        Err(Failure::new("the gateway says no"))
    }
    let retry = "[subscription.service.retry]\nattempts_max = 4";
    let service = Service::configured(Routes::new().all(never), retry).await;
    service.publish("key", "kind", "payload").await;
    service.settled().await;
    let dead = service.dead_letters().await;
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].attempts, dead[0].reason), (4, Reason::Dead(Death::Exhausted)));
    assert_eq!(dead[0].failures, ["the gateway says no"]);
    assert_eq!(dead[0].record.payload, "payload");
}

#[tokio::test]
async fn an_unavailable_dependency_costs_no_attempt() {
    async fn away(_: RawEvent, State(calls): State<Calls>, mut fx: Effects<Memory>) -> Result<(), Failure> {
        if calls.next() <= 50 {
            return Err(Failure::new("the gateway is away").unavailable());
        }
        append(&mut fx, "done".to_owned());
        Ok(())
    }
    let calls = Calls::default();
    let retry = "[subscription.service.retry]\nattempts_max = 1";
    let service = Service::configured(Routes::new().all(away).with_state(calls.clone()), retry).await;
    service.publish("key", "kind", "").await;
    service.settled().await;
    assert_eq!(service.effects("rows").await, ["done"]);
    assert_eq!(calls.count(), 51);
}

#[tokio::test]
async fn a_panic_is_a_failed_try_and_the_worker_goes_on() {
    async fn panics(event: RawEvent, mut fx: Effects<Memory>) -> Result<(), Failure> {
        assert!(**event != *b"bad", "a bad event");
        append(&mut fx, "good".to_owned());
        Ok(())
    }
    let retry = "[subscription.service.retry]\nattempts_max = 2";
    let service = Service::configured(Routes::new().all(panics), retry).await;
    service.publish("a", "kind", "bad").await;
    service.publish("b", "kind", "good").await;
    service.settled().await;
    assert_eq!(service.effects("rows").await, ["good"]);
    let dead = service.dead_letters().await;
    assert!(dead[0].failures[0].contains("a bad event"), "{:?}", dead[0].failures);
}

#[tokio::test]
async fn a_handler_over_its_limit_is_dropped() {
    async fn hangs(_: RawEvent) -> Result<(), Failure> {
        std::future::pending().await
    }
    let toml = "[defaults]\ntimeout = \"1s\"\n[subscription.service.retry]\nattempts_max = 2";
    let service = Service::configured(Routes::new().all(hangs), toml).await;
    service.publish("key", "kind", "").await;
    service.settled().await;
    let dead = service.dead_letters().await;
    assert!(dead[0].failures[0].contains("limit of 1s"), "{:?}", dead[0].failures);
}

#[tokio::test]
async fn a_duplicate_is_not_handled_and_a_conflict_is_dead() {
    async fn note(event: RawEvent, mut fx: Effects<Memory>) -> Result<(), Failure> {
        append(&mut fx, String::from_utf8_lossy(&event).into_owned());
        Ok(())
    }
    let service = Service::start(Routes::new().all(note)).await;
    for payload in ["once", "once", "other"] {
        service.publish_as("one", "key", "kind", payload).await;
    }
    service.settled().await;
    service.publish_as("one", "key", "kind", "once").await;
    service.settled().await;
    assert_eq!(service.effects("rows").await, ["once"]);
    let dead = service.dead_letters().await;
    assert_eq!(dead.len(), 1);
    assert_eq!((&*dead[0].record.payload, dead[0].reason), (&b"other"[..], Reason::Dead(Death::Conflict)));
}

#[tokio::test]
async fn what_cannot_be_decoded_is_dead_with_its_raw_bytes_and_others_go_on() {
    async fn number(event: Event<u32>, mut fx: Effects<Memory>) -> Result<(), Failure> {
        append(&mut fx, event.to_string());
        Ok(())
    }
    let service = Service::start(Routes::new().on("number", number)).await;
    service.publish("a", "number", "seven").await;
    service.publish("a", "number", "7").await;
    service.publish("a", "letter", "x").await;
    service.publish_record(Record::new(vec![b'['; 2_000_000]).with_key("a")).await;
    service.settled().await;
    assert_eq!(service.effects("rows").await, ["7"]);
    let mut deaths: Vec<_> =
        service.dead_letters().await.iter().map(|dead| (dead.record.payload.len(), dead.reason)).collect();
    deaths.sort_by_key(|(len, _)| *len);
    let expected = [(1, Death::UnknownKind), (5, Death::Undecodable), (2_000_000, Death::OverLimit)]
        .map(|(len, death)| (len, Reason::Dead(death)));
    assert_eq!(deaths, expected);
}

#[tokio::test]
async fn an_event_without_a_kind_says_where_kinds_come_from() {
    async fn any(_: RawEvent) -> Result<(), Failure> {
        Ok(())
    }
    let service = Service::start(Routes::new().on("letter", any)).await;
    service.publish_record(Record::new("x").with_key("a")).await;
    service.publish("a", "lettre", "x").await;
    service.settled().await;
    let dead = service.dead_letters().await;
    let said: Vec<_> = dead.iter().map(|dead| dead.failures.join(": ")).collect();
    assert!(said.iter().any(|why| why.contains("has no kind") && why.contains("`event.kind`")), "{said:?}");
    assert!(said.iter().any(|why| why.contains("\"lettre\"")), "{said:?}");
}

#[tokio::test]
async fn p2_a_released_dead_letter_is_handled_once_and_gone() {
    async fn second_time(
        _: RawEvent,
        State(calls): State<Calls>,
        mut fx: Effects<Memory>,
    ) -> Result<(), Failure> {
        if calls.next() == 1 {
            return Err(Failure::new("broken for now").permanent());
        }
        append(&mut fx, "released".to_owned());
        Ok(())
    }
    let service = Service::start(Routes::new().all(second_time).with_state(Calls::default())).await;
    service.publish("key", "kind", "").await;
    service.settled().await;
    let dead = service.dead_letters().await;
    service.release(&dead[0]).await;
    service.pass(Duration::from_secs(60)).await;
    assert_eq!(service.effects("rows").await, ["released"]);
    assert!(service.dead_letters().await.is_empty());
}

#[tokio::test]
async fn c6_a_batch_with_a_failed_item_runs_again_without_it() {
    async fn rows(batch: Batch<String>, mut fx: Effects<Memory>) -> Result<(), Failure> {
        let mut good = Vec::new();
        for item in &batch {
            if item.as_str() == "bad" && item.attempt() < 2 {
                batch.fail(item, Failure::new("bad for now"));
            } else {
                good.push(item.to_string());
            }
        }
        append(&mut fx, good.join("+"));
        Ok(())
    }
    let service = Service::start(Routes::new().on_batch("row", rows)).await;
    for (key, payload) in [("a", "1"), ("b", "bad"), ("b", "2"), ("c", "3")] {
        service.publish(key, "row", format!("\"{payload}\"")).await;
    }
    service.settled().await;
    let all = service.effects("rows").await.join("+");
    let mut each: Vec<&str> = all.split('+').collect();
    assert!(each.iter().position(|row| *row == "bad") < each.iter().position(|row| *row == "2"), "{all}");
    each.sort_unstable();
    assert_eq!(each, ["1", "2", "3", "bad"]);
    assert!(service.dead_letters().await.is_empty());
}

#[tokio::test]
async fn a_failed_effect_is_a_failed_try_of_its_event_alone() {
    async fn writes(event: RawEvent, mut fx: Effects<Memory>, cx: Context) -> Result<(), Failure> {
        let (payload, attempt) = (String::from_utf8_lossy(&event).into_owned(), cx.attempt());
        fx.commit_with((payload, attempt), async |mut tx: Tx<Memory>, (payload, attempt): (String, u32)| {
            tx.append("rows", payload.clone());
            if payload == "bad" && attempt < 3 {
                return Err(Failure::new("the write failed"));
            }
            tx.done()
        });
        Ok(())
    }
    let service = Service::start(Routes::new().all(writes)).await;
    for (key, payload) in [("a", "first"), ("b", "bad"), ("b", "behind"), ("c", "other")] {
        service.publish(key, "kind", payload).await;
    }
    service.settled().await;
    let mut rows = service.effects("rows").await;
    assert!(
        rows.iter().position(|row| row == "bad") < rows.iter().position(|row| row == "behind"),
        "{rows:?}"
    );
    rows.sort_unstable();
    assert_eq!(rows, ["bad", "behind", "first", "other"]);
}

#[tokio::test]
async fn a_lane_goes_on_as_soon_as_its_pending_event_has_landed() {
    /// Pending once, and ready at once after that. Leaves nothing whose commit would wake anyone.
    async fn pends(_: RawEvent, State(calls): State<Calls>) -> Result<(), Failure> {
        let mut pended = false;
        std::future::poll_fn(|cx| {
            if std::mem::replace(&mut pended, true) {
                return std::task::Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await;
        calls.next();
        Ok(())
    }
    let calls = Calls::default();
    let routes = Routes::new().all(pends).with_state(calls.clone());
    let service = Service::configured(routes, "concurrency = 4\nledger.mode = \"position\"").await;
    for n in 0..50 {
        service.publish("key", "kind", n.to_string()).await;
    }
    // Less than anything that wakes a shard by itself: a session's renewal takes seconds.
    service.pass(Duration::from_millis(900)).await;
    assert_eq!(calls.count(), 50);
}
