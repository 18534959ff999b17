//! The order of a key, and what of it is waited for, in a whole runtime.
#![expect(clippy::unwrap_used, reason = "a story that can't be told has failed")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keylane::memory::Memory;
use keylane::store::{Death, Reason};
use keylane::testing::Service;
use keylane::{Effects, Failure, RawEvent, Routes, State, Tx};
use tokio::sync::Semaphore;

/// Handlers write down where they are, and wait where the test tells them to.
#[derive(Clone)]
struct Stage {
    lines: Arc<Mutex<Vec<String>>>,
    gate: Arc<Semaphore>,
}

impl Stage {
    fn new() -> Self {
        Self { lines: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }

    fn note(&self, line: impl Into<String>) {
        self.lines.lock().unwrap().push(line.into());
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn open(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    async fn wait(&self) {
        drop(self.gate.acquire().await.unwrap());
    }
}

async fn waits(event: RawEvent, State(stage): State<Stage>, mut fx: Effects<Memory>) -> Result<(), Failure> {
    let payload = String::from_utf8_lossy(&event).into_owned();
    stage.note(format!("begin {payload}"));
    stage.wait().await;
    if payload == "rejected" {
        return Err(Failure::new("never").permanent());
    }
    fx.commit_with(payload, async |mut tx: Tx<Memory>, payload: String| {
        tx.append("rows", payload);
        tx.done()
    });
    Ok(())
}

const A_WHILE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a3_of_twins_in_flight_one_runs_and_the_other_waits_for_its_result() {
    let stage = Stage::new();
    let service = Service::start(Routes::new().all(waits).with_state(stage.clone())).await;
    // Other keys, so that no lane keeps them apart.
    for key in ["a", "b", "c", "d", "e"] {
        service.publish_as("one", key, "kind", "payload").await;
    }
    service.pass(A_WHILE).await;
    assert_eq!(stage.lines(), ["begin payload"], "the others wait for the first");
    stage.open();
    service.settled().await;
    assert_eq!(stage.lines(), ["begin payload"]);
    assert_eq!(service.effects("rows").await, ["payload"]);
    assert!(service.dead_letters().await.is_empty());
}

#[tokio::test]
async fn l4_a_conflict_with_an_event_in_flight_is_dead_and_never_applied() {
    let stage = Stage::new();
    let service = Service::start(Routes::new().all(waits).with_state(stage.clone())).await;
    for (key, payload) in [("a", "first"), ("b", "other"), ("c", "first")] {
        service.publish_as("one", key, "kind", payload).await;
    }
    service.pass(A_WHILE).await;
    assert_eq!(stage.lines().len(), 1);
    stage.open();
    service.settled().await;
    // Keys lie in partitions of their own, so either may have come first; but only one of the two.
    let (rows, dead) = (service.effects("rows").await, service.dead_letters().await);
    assert_eq!(rows.len(), 1);
    assert_eq!(stage.lines(), [format!("begin {}", rows[0])]);
    assert!(dead.iter().all(|dead| dead.reason == Reason::Dead(Death::Conflict)), "{dead:?}");
    let others = if rows == ["first"] { vec!["other"] } else { vec!["first"; 2] };
    let payloads: Vec<_> = dead.iter().map(|dead| String::from_utf8_lossy(&dead.record.payload)).collect();
    assert!(!payloads.is_empty() && payloads.iter().all(|payload| *payload == others[0]), "{payloads:?}");
}

#[tokio::test]
async fn l4_a_conflict_with_a_parked_event_is_dead_beside_it() {
    let stage = Stage::new();
    stage.open();
    let service = Service::start(Routes::new().all(waits).with_state(stage.clone())).await;
    service.publish_as("one", "key", "kind", "rejected").await;
    service.settled().await;
    for payload in ["other", "rejected"] {
        service.publish_as("one", "key", "kind", payload).await;
        service.settled().await;
    }
    let dead = service.dead_letters().await;
    let dead: Vec<_> = dead.iter().map(|dead| (&*dead.record.payload, dead.reason)).collect();
    let expected =
        [(&b"rejected"[..], Death::Rejected), (b"other", Death::Conflict)].map(|(p, d)| (p, Reason::Dead(d)));
    assert_eq!(dead, expected, "the same payload again is a duplicate");
    assert_eq!(stage.lines(), ["begin rejected"]);
    assert!(service.effects("rows").await.is_empty());
}

/// An event whose write waits while it is being committed, where its payload says so.
async fn commits(
    event: RawEvent,
    State(stage): State<Stage>,
    mut fx: Effects<Memory>,
) -> Result<(), Failure> {
    let payload = String::from_utf8_lossy(&event).into_owned();
    stage.note(format!("begin {payload}"));
    if payload.ends_with("writes") {
        fx.commit_with((stage, payload), async |mut tx: Tx<Memory>, (stage, payload): (Stage, String)| {
            stage.wait().await;
            stage.note(format!("commit {payload}"));
            tx.append("rows", payload);
            tx.done()
        });
    }
    Ok(())
}

#[tokio::test]
async fn c5_the_next_of_a_key_waits_for_the_commit_of_what_the_one_before_wrote() {
    let stage = Stage::new();
    let service = Service::start(Routes::new().all(commits).with_state(stage.clone())).await;
    for payload in ["1 writes", "2"] {
        service.publish("key", "kind", payload).await;
    }
    service.pass(A_WHILE).await;
    assert_eq!(stage.lines(), ["begin 1 writes"], "its commit is running");
    stage.open();
    service.settled().await;
    assert_eq!(stage.lines(), ["begin 1 writes", "commit 1 writes", "begin 2"]);
}

#[tokio::test]
async fn c5_the_next_of_a_key_goes_at_once_where_the_one_before_wrote_nothing() {
    let stage = Stage::new();
    let service = Service::start(Routes::new().all(commits).with_state(stage.clone())).await;
    // Commits stand still from here on; the others were admitted in the same pull.
    for (key, payload) in [("else", "writes"), ("key", "1"), ("key", "2"), ("key", "3")] {
        service.publish(key, "kind", payload).await;
    }
    service.pass(A_WHILE).await;
    let lines = stage.lines();
    let of_key: Vec<_> = lines.iter().filter(|line| **line != "begin writes").collect();
    assert_eq!(of_key, ["begin 1", "begin 2", "begin 3"]);
    assert!(lines.contains(&"begin writes".to_owned()), "{lines:?}");
    stage.open();
    service.settled().await;
    assert_eq!(service.effects("rows").await, ["writes"]);
}
