//! Subscriptions without partitions in whole runtimes: keys have leases, whoever is dealt the events.
#![expect(clippy::unwrap_used, reason = "a story that can't be told has failed")]

mod stories;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use keylane::broker::{Broker, Outgoing};
use keylane::event::Record;
use keylane::memory::{Memory, MemoryQueues};
use keylane::{Context, Effects, Env, Failure, Handle, RawEvent, Routes, Runtime, State, Tx};

use super::paused::Clock;

/// So few at a time that every worker gets some.
const FEW: &str = "budget = { messages_max = 40, waiting_max = 40 }\n";

/// What outlives the workers, and what is seen of their handlers.
#[derive(Clone)]
struct Stage {
    clock: Clock,
    env: Env,
    memory: Memory,
    queues: MemoryQueues,
    seen: Arc<Seen>,
    more: &'static str,
}

#[derive(Default)]
struct Seen {
    running: Mutex<BTreeMap<Bytes, usize>>,
    overlaps: AtomicUsize,
    runs: AtomicUsize,
    /// The tokens under which a key's effects were written, in order.
    tokens: Mutex<BTreeMap<Bytes, Vec<u64>>>,
    workers: Mutex<BTreeMap<Bytes, BTreeSet<u64>>>,
}

#[derive(Clone)]
struct Worker {
    stage: Stage,
    number: u64,
    pause: Duration,
}

/// Is in the middle of an event of a key.
struct Inside(Arc<Seen>, Bytes);

impl Inside {
    fn of(seen: &Arc<Seen>, key: &Bytes) -> Self {
        let mut running = seen.running.lock().unwrap();
        let now = running.entry(key.clone()).or_default();
        *now += 1;
        seen.overlaps.fetch_add(usize::from(*now > 1), Ordering::Relaxed);
        seen.runs.fetch_add(1, Ordering::Relaxed);
        Self(seen.clone(), key.clone())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap().get_mut(&self.1).unwrap() -= 1;
    }
}

async fn handle(
    event: RawEvent,
    State(worker): State<Worker>,
    mut fx: Effects<Memory>,
    cx: Context,
) -> Result<(), Failure> {
    let key = event.meta().key.clone().unwrap();
    let inside = Inside::of(&worker.stage.seen, &key);
    worker.stage.seen.workers.lock().unwrap().entry(key.clone()).or_default().insert(worker.number);
    worker.stage.env.sleep(worker.pause).await;
    let row = format!("{} {}", event.meta().id, cx.fencing_token());
    fx.commit_with(row, async |mut tx: Tx<Memory>, row: String| {
        tx.append("effects", row);
        tx.done()
    });
    worker.stage.seen.tokens.lock().unwrap().entry(key).or_default().push(cx.fencing_token());
    drop(inside);
    Ok(())
}

impl Stage {
    fn new() -> Self {
        Self::on(Clock::paused())
    }

    fn on(clock: Clock) -> Self {
        let env = clock.env(0);
        let queues = MemoryQueues::new();
        queues.create("orders");
        let memory = Memory::with_clock(&env);
        Self { clock, memory, env, queues, seen: Arc::default(), more: "" }
    }

    /// `each` events for every key, round about.
    async fn publish(&self, keys: usize, each: usize) {
        let connection: Arc<dyn Broker> = self.queues.worker(&self.env);
        let publisher = connection.publisher().await.unwrap();
        let all = (0..each).flat_map(|number| (0..keys).map(move |key| (key, number)));
        let batch = all.map(|(key, number)| Outgoing {
            target: "orders".into(),
            record: Record::new(number.to_string())
                .with_key(format!("k{key}"))
                .with_header("ce_specversion", "1.0")
                .with_header("ce_source", "test")
                .with_header("ce_type", "tick")
                .with_header("ce_id", format!("k{key}/{number}")),
        });
        for published in publisher.publish(batch.collect()).await {
            published.unwrap();
        }
    }

    async fn worker(&self, number: u64, pause: Duration) -> (Env, Handle) {
        let env = self.clock.env(number);
        let worker = Worker { stage: self.clone(), number, pause };
        let routes = Routes::new().all(handle).with_state(worker);
        (env.clone(), self.start(&env, routes).await)
    }

    async fn start(&self, env: &Env, routes: Routes) -> Handle {
        let more = self.more;
        let toml = format!(
            r#"
            [runtime]
            shards = 2
            session = "3s"
            grace = "1s"
            handover_max = "4s"
            drain_max = "5s"
            [store.memory]
            [broker.main.memory_queues]
            [subscription.service]
            source = "orders"
            concurrency = 8
            {more}
            "#
        );
        let runtime = Runtime::from_text(toml).env(env.clone()).store(self.memory.clone());
        runtime.broker(self.queues.clone()).subscription("service", routes).start().await.unwrap()
    }

    async fn effects(&self) -> Vec<String> {
        let rows = self.memory.rows("effects").await;
        rows.iter().map(|row| String::from_utf8_lossy(row).into_owned()).collect()
    }

    /// Lets time pass until so many effects are there and the broker has nothing left.
    async fn drained(&self, effects: usize) {
        for _ in 0..60_000 {
            let queued = self.queues.queued("orders").unwrap();
            if self.effects().await.len() >= effects && queued.ready + queued.unsettled == 0 {
                return;
            }
            self.clock.pass(Duration::from_millis(10)).await;
        }
        panic!(
            "{} of {effects} effects after ten minutes; {:?}",
            self.effects().await.len(),
            self.queues.queued("orders")
        );
    }

    /// Each event has one effect, no two runs of a key overlapped, and a key's tokens grew.
    async fn holds(&self, keys: usize, each: usize) {
        let effects = self.effects().await;
        let ids: BTreeSet<&str> = effects.iter().filter_map(|row| Some(row.rsplit_once(' ')?.0)).collect();
        assert_eq!(ids.len(), keys * each, "each event has an effect");
        assert_eq!(effects.len(), keys * each, "no event has two");
        assert_eq!(self.seen.overlaps.load(Ordering::Relaxed), 0, "two runs of a key overlapped");
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for row in &effects {
            let (id, token) = row.rsplit_once(' ').unwrap();
            let token: u64 = token.parse().unwrap();
            let before = last.insert(id.split('/').next().unwrap(), token).unwrap_or(0);
            assert!(token >= before, "{id} was written under {token} after {before}");
        }
    }
}
