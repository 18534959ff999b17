//! `ahead = true` (rule C5's opt-in): handlers of a key run ahead of its commits, and its writes don't.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keylane::memory::Memory;
use keylane::testing::Service;
use keylane::{Batch, Context, Effects, Failure, RawEvent, Routes, State, Tx};

const AHEAD: &str = "ahead = true\nconcurrency = 8";

/// What was started, in order, and how often the write of the event named here still fails.
#[derive(Clone, Default)]
struct Diary {
    started: Arc<Mutex<Vec<String>>>,
    failing: Arc<AtomicU32>,
}

impl Diary {
    fn started(&self) -> Vec<String> {
        self.lock().clone()
    }
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write(
    event: RawEvent,
    State(diary): State<Diary>,
    mut fx: Effects<Memory>,
    cx: Context,
) -> Result<(), Failure> {
    let row = String::from_utf8_lossy(&event).into_owned();
    diary.lock().push(format!("{row}#{}", cx.attempt()));
    if row.contains('~') {
        rounds(10).await;
    }
    if row.ends_with("~-") {
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

/// Lets the other tasks go first so many times: long enough for a commit to be answered meanwhile.
async fn rounds(mut left: u32) {
    std::future::poll_fn(|cx| {
        if left == 0 {
            return std::task::Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

async fn publish(service: &Service, key: &str, rows: impl IntoIterator<Item = &str>) {
    for row in rows {
        service.publish(key, "kind", row.to_owned()).await;
    }
}

#[tokio::test]
async fn c5_with_ahead_a_failed_write_takes_all_later_events_of_its_key_with_it() {
    for failures in 1..=6 {
        let diary = Diary::default();
        diary.failing.store(failures, Ordering::Release);
        let service = Service::configured(Routes::new().all(write).with_state(diary.clone()), AHEAD).await;
        publish(&service, "a", ["a1", "a2!", "a3", "a4", "a5"]).await;
        publish(&service, "b", ["b1", "b2", "b3"]).await;
        service.settled().await;
        let started = diary.started();
        let a3 = started.iter().position(|start| start.starts_with("a3"));
        let again = started.iter().rposition(|start| start.starts_with("a2!"));
        assert!(a3 < again, "nothing ran ahead: {started:?}");
        let rows = service.effects("rows").await;
        let of = |key: &str| rows.iter().filter(|row| row.starts_with(key)).cloned().collect::<Vec<_>>();
        assert_eq!(
            of("a"),
            ["a1", "a2!", "a3", "a4", "a5"],
            "{failures} failures, started {:?}",
            diary.started()
        );
        assert_eq!(of("b"), ["b1", "b2", "b3"]);
        assert!(service.dead_letters().await.is_empty());
    }
}

#[tokio::test]
async fn c5_with_ahead_an_event_that_runs_while_a_write_before_it_fails_runs_again_after_it() {
    for failures in 1..=3 {
        let diary = Diary::default();
        diary.failing.store(failures, Ordering::Release);
        let service = Service::configured(Routes::new().all(write).with_state(diary.clone()), AHEAD).await;
        publish(&service, "a", ["a1!", "a2~", "a3", "a4~", "a5"]).await;
        service.settled().await;
        assert_eq!(service.effects("rows").await, ["a1!", "a2~", "a3", "a4~", "a5"], "{:?}", diary.started());
    }
}

#[tokio::test]
async fn c5_with_ahead_a_failed_write_does_not_wait_for_all_that_is_behind_it() {
    let diary = Diary::default();
    diary.failing.store(1, Ordering::Release);
    let service = Service::configured(Routes::new().all(write).with_state(diary.clone()), AHEAD).await;
    publish(&service, "a", ["a1!", "a2~-", "a3~-", "a4~-"]).await;
    service.settled().await;
    assert_eq!(diary.started(), ["a1!#1", "a2~-#1", "a1!#2", "a3~-#1", "a4~-#1"]);
}

#[tokio::test]
async fn c5_with_ahead_a_write_that_never_succeeds_is_dead_and_its_key_goes_on() {
    let diary = Diary::default();
    diary.failing.store(u32::MAX, Ordering::Release);
    let toml = format!("{AHEAD}\n[subscription.service.retry]\nattempts_max = 3");
    let service = Service::configured(Routes::new().all(write).with_state(diary.clone()), &toml).await;
    publish(&service, "a", ["a1", "a2!", "a3", "a4"]).await;
    service.settled().await;
    assert_eq!(service.effects("rows").await, ["a1", "a3", "a4"]);
    let dead = service.dead_letters().await;
    assert_eq!(dead.len(), 1);
    assert_eq!((&dead[0].record.payload[..], dead[0].attempts), (&b"a2!"[..], 3));
}

#[tokio::test]
async fn c5_with_ahead_a_batch_waits_for_the_writes_before_it() {
    async fn batch(
        batch: Batch<String>,
        State(diary): State<Diary>,
        mut fx: Effects<Memory>,
    ) -> Result<(), Failure> {
        let rows: Vec<String> = batch.iter().map(|item| item.to_string()).collect();
        diary.lock().extend(rows.iter().cloned());
        rounds(10).await;
        fx.commit_with(rows, async |mut tx: Tx<Memory>, rows: Vec<String>| {
            rows.into_iter().for_each(|row| tx.append("rows", row));
            tx.done()
        });
        Ok(())
    }
    let diary = Diary::default();
    diary.failing.store(2, Ordering::Release);
    let routes = Routes::new().on("one", write).on_batch("many", batch).with_state(diary.clone());
    let service = Service::configured(routes, AHEAD).await;
    service.publish("a", "one", "a1!").await;
    service.publish("a", "many", "\"a2\"").await;
    // Some of these share its partition, and thus its batch.
    for key in ["b", "c", "d", "e", "f", "g"] {
        service.publish(key, "many", format!("\"{key}1\"")).await;
    }
    service.publish("a", "one", "a3").await;
    service.settled().await;
    let rows = service.effects("rows").await;
    let of_a: Vec<_> = rows.iter().filter(|row| row.starts_with('a')).collect();
    assert_eq!(of_a, ["a1!", "a2", "a3"], "{:?}", diary.started());
    assert_eq!(rows.len(), 3 + 6);
}

#[tokio::test]
async fn c5_with_ahead_a_long_backlog_of_one_key_is_written_in_order() {
    let diary = Diary::default();
    let service = Service::configured(Routes::new().all(write).with_state(diary.clone()), AHEAD).await;
    let rows: Vec<String> = (0..1_000).map(|n| format!("{n:04}")).collect();
    publish(&service, "a", rows.iter().map(String::as_str)).await;
    service.settled().await;
    assert_eq!(service.effects("rows").await, rows);
    service.pass(Duration::from_secs(60)).await;
    assert_eq!(diary.started().len(), 1_000, "each ran once");
}
