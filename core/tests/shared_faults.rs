//! Subscriptions without partitions: what must not go wrong beside the common course.
#![expect(clippy::unwrap_used, reason = "a story that can't be told has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keylane::broker::{Broker, Outgoing};
use keylane::event::Record;
use keylane::memory::{Memory, MemoryQueues};
use keylane::store::{Death, Reason, Store};
use keylane::{Admin, Env, Error, Failure, Handle, RawEvent, Routes, Runtime, State};

use super::paused::Clock;

#[derive(Clone)]
struct Stage {
    clock: Clock,
    env: Env,
    memory: Memory,
    queues: MemoryQueues,
    runs: Arc<AtomicUsize>,
    ends: Arc<AtomicUsize>,
}

/// Runs for ten seconds.
async fn slow(_: RawEvent, State(stage): State<Stage>) -> Result<(), Failure> {
    stage.runs.fetch_add(1, Ordering::Relaxed);
    stage.env.sleep(Duration::from_secs(10)).await;
    stage.ends.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

impl Stage {
    fn new() -> Self {
        let clock = Clock::paused();
        let env = clock.env(0);
        let queues = MemoryQueues::new();
        queues.create("orders");
        let memory = Memory::with_clock(&env);
        Self { clock, memory, env, queues, runs: Arc::default(), ends: Arc::default() }
    }

    async fn publish(&self, id: &str) {
        let connection: Arc<dyn Broker> = self.queues.worker(&self.env);
        let record = Record::new("")
            .with_key("k")
            .with_header("ce_specversion", "1.0")
            .with_header("ce_source", "test")
            .with_header("ce_type", "tick")
            .with_header("ce_id", id.to_owned());
        let out = vec![Outgoing { target: "orders".into(), record }];
        connection.publisher().await.unwrap().publish(out).await.remove(0).unwrap();
    }

    async fn start(
        &self,
        number: u64,
        subscriptions: &str,
        names: &[&'static str],
    ) -> Result<(Env, Handle), Error> {
        let env = self.clock.env(number);
        let toml = format!(
            r#"
            [runtime]
            shards = 1
            session = "3s"
            grace = "1s"
            handover_max = "4s"
            drain_max = "5s"
            [store.memory]
            [broker.main.memory_queues]
            {subscriptions}
            "#
        );
        let mut runtime = Runtime::from_text(toml).env(env.clone()).store(self.memory.clone());
        runtime = runtime.broker(self.queues.clone());
        for name in names {
            runtime = runtime.subscription(*name, Routes::new().all(slow).with_state(self.clone()));
        }
        Ok((env, runtime.start().await?))
    }
}

#[tokio::test]
async fn t1_a_session_that_its_living_worker_lost_is_no_death_of_its_events() {
    let stage = Stage::new();
    stage.publish("1").await;
    let one = "[subscription.service]\nsource = \"orders\"\nconcurrency = 2\n";
    let _a = stage.start(1, one, &["service"]).await.unwrap();
    // As an outage of the store does that lasts longer than a session.
    for _ in 0..6 {
        stage.clock.pass(Duration::from_secs(2)).await;
        stage.memory.end_sessions().await;
    }
    stage.clock.pass(Duration::from_secs(30)).await;
    let store: Arc<dyn Store> = stage.memory.worker(&stage.env);
    let dead = Admin::new(store).dead_letters("service", None, 10).await.unwrap();
    assert!(dead.is_empty(), "an outage fills no dead letters: {:?}", dead.first().map(|row| row.reason));
    assert!(stage.runs.load(Ordering::Relaxed) > 3, "it was interrupted again and again");
    assert_eq!(stage.ends.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn two_subscriptions_of_one_group_and_source_are_refused() {
    let stage = Stage::new();
    let own = |name| {
        format!(
            "[subscription.{name}]\nsource = \"orders\"\ngroup = \"g\"\nconcurrency = 2\nbudget = {{ messages_max = 2 }}\n"
        )
    };
    let two = own("a") + &own("b");
    let started = stage.start(1, &two, &["a", "b"]).await;
    let Err(error) = started else { panic!("each would take the other's leases") };
    assert!(error.to_string().contains("group"), "{error}");
}

#[tokio::test]
async fn s7_what_the_dead_left_goes_without_a_ledger_as_well() {
    let stage = Stage::new();
    stage.publish("1").await;
    let one = "[subscription.service]\nsource = \"orders\"\nconcurrency = 2\nledger = { mode = \"off\", keep = \"30m\" }\n";
    let (env, handle) = stage.start(1, one, &["service"]).await.unwrap();
    stage.clock.pass(Duration::from_secs(1)).await;
    env.abandon();
    drop(handle);
    // Nobody comes for its key again.
    stage.queues.delete("orders");
    stage.queues.create("orders");
    let _b = stage.start(2, one, &["service"]).await.unwrap();
    stage.clock.pass(Duration::from_secs(33 * 60)).await;
    assert_eq!(stage.memory.leases_held().await, 0, "a lease of a session that is gone");
}

#[tokio::test]
async fn t1_one_lease_for_all_keys_does_not_hide_who_kills_its_worker() {
    let stage = Stage::new();
    stage.publish("1").await;
    let one = "[subscription.service]\nsource = \"orders\"\nconcurrency = 2\nlock = \"local\"\n";
    for number in 1..=8 {
        let (env, handle) = stage.start(number, one, &["service"]).await.unwrap();
        stage.clock.pass(Duration::from_secs(1)).await;
        env.abandon();
        drop(handle);
        stage.queues.cut("orders");
    }
    let store: Arc<dyn Store> = stage.memory.worker(&stage.env);
    let dead = Admin::new(store).dead_letters("service", None, 10).await.unwrap();
    let reasons: Vec<_> = dead.iter().map(|row| row.reason).collect();
    assert_eq!(reasons, [Reason::Dead(Death::Crashes)], "{} deaths", stage.runs.load(Ordering::Relaxed));
}
