//! Rule T1 in a whole runtime: who dies with its worker too often is dead, and nobody else.
#![expect(clippy::unwrap_used, reason = "a story that can't be told has failed")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use keylane::broker::{Broker, Outgoing};
use keylane::event::Record;
use keylane::memory::{Memory, MemoryBroker};
use keylane::store::{ClaimAnswer, ClaimRequest, Death, NewSession, Parked, Reason, Scope, SessionId, Store};
use keylane::{Admin, Effects, Env, Failure, Handle, RawEvent, Routes, Runtime, State, Tx};

use super::paused::Clock;

const CONCURRENCY: u32 = 4;
const CRASHES_MAX: u32 = 3;
const PARTITIONS: u32 = 2;
const SESSION: Duration = Duration::from_secs(3);

/// What outlives the workers.
struct Stage {
    clock: Clock,
    env: Env,
    memory: Memory,
    broker: MemoryBroker,
    shards: u32,
}

impl Stage {
    fn new(shards: u32) -> Self {
        let clock = Clock::paused();
        let env = clock.env(0);
        let broker = MemoryBroker::new();
        broker.create("events", PARTITIONS);
        Self { clock, memory: Memory::with_clock(&env), env, broker, shards }
    }

    /// One event for each key; the payload is the key.
    async fn publish(&self, keys: impl Iterator<Item = String>) {
        let connection: Arc<dyn Broker> = self.broker.worker(&self.env);
        let publisher = connection.publisher().await.unwrap();
        let record = |key: String| Record::new(key.clone()).with_key(key);
        let batch = keys.map(|key| Outgoing { target: "events".into(), record: record(key) });
        for published in publisher.publish(batch.collect()).await {
            published.unwrap();
        }
    }

    async fn start(&self, env: &Env, routes: Routes) -> Handle {
        let shards = self.shards;
        let toml = format!(
            r#"
            [runtime]
            shards = {shards}
            session = "3s"
            grace = "1s"
            handover_max = "4s"
            drain_max = "2s"
            [store.memory]
            [broker.main.memory]
            [subscription.service]
            source = "events"
            concurrency = {CONCURRENCY}
            [subscription.service.retry]
            on_exhausted = "skip"
            crashes_max = {CRASHES_MAX}
            "#
        );
        let runtime = Runtime::from_text(toml).env(env.clone()).store(self.memory.clone());
        runtime.broker(self.broker.clone()).subscription("service", routes).start().await.unwrap()
    }

    /// How many events stand marked as started by a session that is dead.
    async fn marked(&self) -> usize {
        self.clock.pass(SESSION * 2).await;
        let store: Arc<dyn Store> = self.memory.worker(&self.env);
        let session = SessionId(self.env.uuid());
        store.register(NewSession { id: session, worker: "eyes".into(), lifetime: SESSION }).await.unwrap();
        let mut marked = 0;
        for partition in 0..PARTITIONS {
            let scope =
                Scope { subscription: "service".into(), broker: "main".into(), source: "events".into() };
            let request = ClaimRequest { session, scope, partition, handover_limit: SESSION * 2 };
            let ClaimAnswer::Granted(claim) = store.claim(request).await.unwrap() else {
                panic!("a dead session's claim is free")
            };
            marked += claim.attempts.iter().filter(|row| row.started_by.is_some()).count();
        }
        marked
    }

    async fn dead(&self) -> Vec<Parked> {
        let store: Arc<dyn Store> = self.memory.worker(&self.env);
        Admin::new(store).dead_letters("service", None, 1000).await.unwrap()
    }

    async fn handled(&self) -> Vec<String> {
        let rows = self.memory.rows("handled").await;
        rows.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect()
    }
}

#[derive(Clone, Default)]
struct Calls(Arc<AtomicU32>);

async fn hangs(_: RawEvent, State(calls): State<Calls>) -> Result<(), Failure> {
    calls.0.fetch_add(1, Ordering::Relaxed);
    std::future::pending().await
}

async fn t1_no_more_are_marked_than_may_run(shards: u32) {
    let stage = Stage::new(shards);
    stage.publish((0..100).map(|n| format!("key {n}"))).await;
    for worker in 1..=2 {
        let (env, calls) = (stage.clock.env(worker), Calls::default());
        let handle = stage.start(&env, Routes::new().all(hangs).with_state(calls.clone())).await;
        let all_run = || calls.0.load(Ordering::Relaxed) == CONCURRENCY;
        stage.clock.until("four handlers run", all_run).await;
        // Time for marks that nobody may make.
        stage.clock.pass(Duration::from_secs(5)).await;
        assert!(all_run());
        env.abandon();
        drop(handle);
    }
    let marked = stage.marked().await;
    assert!((1..=CONCURRENCY as usize).contains(&marked), "{marked} events are marked as started");
}

#[tokio::test]
async fn t1_marks_are_made_for_as_many_events_as_may_run() {
    t1_no_more_are_marked_than_may_run(1).await;
}

#[tokio::test]
async fn t1_the_shards_share_the_places_for_marks() {
    t1_no_more_are_marked_than_may_run(3).await;
}

/// Ends in order, again and again, are no deaths, though the handlers had been marked and were dropped.
#[tokio::test]
async fn t1_what_was_only_interrupted_is_not_dead() {
    async fn second_try(event: RawEvent, mut fx: Effects<Memory>) -> Result<(), Failure> {
        note(&mut fx, &event);
        Ok(())
    }
    let stage = Stage::new(1);
    stage.publish((0..20).map(|n| format!("key {n}"))).await;
    for worker in 1..=u64::from(CRASHES_MAX) * 2 {
        let (env, calls) = (stage.clock.env(worker), Calls::default());
        let handle = stage.start(&env, Routes::new().all(hangs).with_state(calls.clone())).await;
        stage.clock.until("four handlers run", || calls.0.load(Ordering::Relaxed) == CONCURRENCY).await;
        if worker > 1 {
            handle.shutdown();
            handle.join().await.unwrap();
        }
        // The first one dies: from then on there are marks.
        drop(handle);
    }
    let handle = stage.start(&stage.clock.env(99), Routes::new().all(second_try)).await;
    stage.clock.pass(Duration::from_secs(60)).await;
    drop(handle);
    assert_eq!((stage.handled().await.len(), stage.dead().await), (20, Vec::new()));
}

fn note(fx: &mut Effects<Memory>, event: &RawEvent) {
    fx.commit_with(event.to_vec(), async |mut tx: Tx<Memory>, key: Vec<u8>| {
        tx.append("handled", key);
        tx.done()
    });
}

/// A worker with one event that kills it, and neighbours that take `pause` each.
#[derive(Clone)]
struct Scene {
    env: Env,
    pause: Duration,
    deaths: Arc<AtomicU32>,
}

async fn fatal(event: RawEvent, State(scene): State<Scene>, mut fx: Effects<Memory>) -> Result<(), Failure> {
    if **event == *b"fatal" {
        scene.deaths.fetch_add(1, Ordering::Relaxed);
        scene.env.abandon();
        return std::future::pending().await;
    }
    if !scene.pause.is_zero() {
        scene.env.sleep(scene.pause).await;
    }
    note(&mut fx, &event);
    Ok(())
}

async fn t1_only_the_fatal_one_dies(pause: Duration, shards: u32) {
    let stage = Stage::new(shards);
    let name = |n: u32| if n == 11 { "fatal".to_owned() } else { format!("key {n}") };
    stage.publish((0..40).map(name)).await;
    let deaths = Arc::new(AtomicU32::new(0));
    for worker in 1..=u64::from(CRASHES_MAX) + 2 {
        let env = stage.clock.env(worker);
        let before = deaths.load(Ordering::Relaxed);
        let scene = Scene { env: env.clone(), pause, deaths: deaths.clone() };
        let handle = stage.start(&env, Routes::new().all(fatal).with_state(scene)).await;
        // Many times what it takes to win the claims of the dead and to handle all there is.
        for _ in 0..60 {
            stage.clock.pass(Duration::from_secs(1)).await;
            if deaths.load(Ordering::Relaxed) > before {
                break;
            }
        }
        drop(handle);
    }
    let dead = stage.dead().await;
    let dead: Vec<_> = dead.iter().map(|dead| (&*dead.record.payload, dead.reason, dead.crashes)).collect();
    assert_eq!(dead, [(&b"fatal"[..], Reason::Dead(Death::Crashes), CRASHES_MAX)]);
    // The first death is not marked: nobody knew.
    assert_eq!(deaths.load(Ordering::Relaxed), CRASHES_MAX + 1);
    let handled = stage.handled().await;
    let each: BTreeSet<_> = handled.iter().collect();
    assert_eq!((handled.len(), each.len()), (39, 39), "{each:?}");
}

#[tokio::test]
async fn t1_a_fatal_event_is_dead_and_its_quick_neighbours_are_handled() {
    t1_only_the_fatal_one_dies(Duration::ZERO, 1).await;
}

#[tokio::test]
async fn t1_a_fatal_event_is_dead_and_those_that_ran_beside_it_are_handled() {
    t1_only_the_fatal_one_dies(Duration::from_millis(5), 1).await;
}

#[tokio::test]
async fn t1_a_fatal_event_is_dead_and_what_ran_in_other_shards_is_handled() {
    t1_only_the_fatal_one_dies(Duration::from_millis(5), 3).await;
}
