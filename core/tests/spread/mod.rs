//! Keys spread over several databases (rule S10): each has its own keys, and one that is away stops only those.
#![expect(clippy::unwrap_used, reason = "a story that can't be told has failed")]

mod nameless;
mod partitions;
mod queues;
mod storms;
mod wiring;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keylane::broker::{Broker, Outgoing};
use keylane::event::Record;
use keylane::memory::{Memory, MemoryBroker, MemoryQueues};
use keylane::{Effects, Env, Error, Failure, Handle, RawEvent, Routes, Runtime, State, Tx};

use super::paused::Clock;

/// Far less than what is published.
const FEW: &str = "budget = { messages_max = 40, waiting_max = 40 }";

const SOURCE: &str = "orders";

/// What outlives the workers.
struct Stage {
    clock: Clock,
    env: Env,
    homes: Vec<Memory>,
    log: MemoryBroker,
    queues: MemoryQueues,
    runs: Arc<AtomicUsize>,
    published: BTreeMap<String, usize>,
    more: &'static str,
}

#[derive(Clone)]
struct Runs(Arc<AtomicUsize>);

async fn note(event: RawEvent, State(runs): State<Runs>, mut fx: Effects<Memory>) -> Result<(), Failure> {
    runs.0.fetch_add(1, Ordering::Relaxed);
    fx.commit_with(event.meta().id.to_string(), async |mut tx: Tx<Memory>, id: String| {
        tx.append("rows", id);
        tx.done()
    });
    Ok(())
}

impl Stage {
    /// Two databases, a log of as many partitions, a queue.
    fn new(partitions: u32) -> Self {
        Self::with(2, partitions)
    }

    fn with(homes: usize, partitions: u32) -> Self {
        let clock = Clock::paused();
        let env = clock.env(0);
        let homes = (0..homes).map(|_| Memory::with_clock(&env)).collect();
        let (log, queues) = (MemoryBroker::new(), MemoryQueues::new());
        log.create(SOURCE, partitions);
        queues.create(SOURCE);
        let (runs, published) = (Arc::default(), BTreeMap::new());
        Self { clock, env, homes, log, queues, runs, published, more: "" }
    }

    /// `each` more events for every key, round about.
    async fn publish(&mut self, keys: usize, each: usize) {
        let keys: Vec<String> = (0..keys).map(|key| format!("k{key}")).collect();
        for _ in 0..each {
            self.publish_to(&keys).await;
        }
    }

    /// One more event for each of these keys, to both brokers.
    async fn publish_to(&mut self, keys: &[String]) {
        let mut batch = Vec::new();
        for key in keys {
            let number = self.published.entry(key.clone()).or_default();
            let record = Record::new(number.to_string())
                .with_key(key.clone())
                .with_header("ce_specversion", "1.0")
                .with_header("ce_source", "test")
                .with_header("ce_type", "tick")
                .with_header("ce_id", format!("{key}/{number}"));
            *number += 1;
            batch.push(Outgoing { target: SOURCE.into(), record });
        }
        let brokers: [Arc<dyn Broker>; 2] = [self.log.worker(&self.env), self.queues.worker(&self.env)];
        for broker in brokers {
            for published in broker.publisher().await.unwrap().publish(batch.clone()).await {
                published.unwrap();
            }
        }
    }

    fn runtime(&self, number: u64, broker: &str) -> (Env, Runtime) {
        let env = self.clock.env(number);
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
            [broker.main.{broker}]
            [subscription.service]
            source = "orders"
            concurrency = 8
            retry.on_exhausted = "skip"
            {more}
            "#
        );
        let runtime = Runtime::from_text(toml)
            .env(env.clone())
            .store(Memory::spread(&self.homes))
            .broker(self.log.clone())
            .broker(self.queues.clone())
            .subscription("service", Routes::new().all(note).with_state(Runs(self.runs.clone())));
        (env, runtime)
    }

    async fn start_on(&self, number: u64, broker: &str) -> Result<(Env, Handle), Error> {
        let (env, runtime) = self.runtime(number, broker);
        Ok((env, runtime.start().await?))
    }

    async fn start(&self, number: u64) -> (Env, Handle) {
        self.start_on(number, "memory").await.unwrap()
    }

    /// The events written in one database, by key, in order.
    async fn rows(&self, home: usize) -> BTreeMap<String, Vec<usize>> {
        let mut rows: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for row in self.homes[home].rows("rows").await {
            let row = String::from_utf8_lossy(&row).into_owned();
            let (key, number) = row.split(' ').next().unwrap().split_once('/').unwrap();
            rows.entry(key.to_owned()).or_default().push(number.parse().unwrap());
        }
        rows
    }

    async fn written(&self) -> usize {
        let mut all = 0;
        for home in &self.homes {
            all += home.rows("rows").await.len();
        }
        all
    }

    fn all(&self) -> usize {
        self.published.values().sum()
    }

    /// How many events were published of the keys that belong to a home; each key has an event there already.
    async fn share(&self, home: usize) -> usize {
        self.rows(home).await.keys().map(|key| self.published[key]).sum()
    }

    /// Lets time pass until so many rows are in one database.
    async fn until_written(&self, home: usize, rows: usize) {
        for _ in 0..30_000 {
            let written = self.homes[home].rows("rows").await.len();
            if written >= rows {
                return;
            }
            self.clock.pass(Duration::from_millis(20)).await;
        }
        let (written, queued) = (self.homes[home].rows("rows").await.len(), self.queues.queued(SOURCE));
        panic!("{written} of {rows} rows in database {home} after ten minutes; {queued:?}");
    }

    /// Lets time pass until all is written that was published.
    async fn until_all(&self) {
        for _ in 0..30_000 {
            if self.written().await >= self.all() {
                return;
            }
            self.clock.pass(Duration::from_millis(20)).await;
        }
        panic!("{} of {} rows after ten minutes", self.written().await, self.all());
    }

    /// Every event has one row, in its key's order where `ordered`, and every key's lie in one database.
    async fn holds(&self, ordered: bool) {
        let mut all: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for home in 0..self.homes.len() {
            let rows = self.rows(home).await;
            assert!(!rows.is_empty(), "database {home} has nothing: nothing was shown");
            for (key, numbers) in rows {
                assert!(all.insert(key.clone(), numbers).is_none(), "{key} lies in two databases");
            }
        }
        for (key, count) in &self.published {
            let mut numbers = all.remove(key).unwrap_or_default();
            if !ordered {
                numbers.sort_unstable();
            }
            assert_eq!(numbers, (0..*count).collect::<Vec<_>>(), "{key}");
        }
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::Relaxed)
    }
}
