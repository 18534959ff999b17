//! Testing a service: its own [`Routes`] on the memory broker and the memory store, in virtual time.
//!
//! ```
//! use keylane::testing::Service;
//! use keylane::{Event, Failure, Routes, Effects, Tx, memory::Memory};
//!
//! async fn paid(order: Event<String>, mut fx: Effects<Memory>) -> Result<(), Failure> {
//!     fx.commit_with(order.into_inner(), async |mut tx: Tx<Memory>, order: String| {
//!         tx.append("paid", order);
//!         tx.done()
//!     });
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let service = Service::start(Routes::new().on("order.paid", paid)).await;
//! service.publish("order-1", "order.paid", r#""order-1""#).await;
//! service.settled().await;
//! assert_eq!(service.effects("paid").await, ["order-1"]);
//! assert!(service.dead_letters().await.is_empty());
//! # }
//! ```
//!
//! A retry that waits an hour takes no time here: when nothing can go on, the clock jumps to the next
//! timer. For the same reason a handler under test must not wait for the real world: give it a stand-in
//! by [`State`](crate::State).

mod virtual_time;

use std::time::Duration;

use bytes::Bytes;

use crate::broker::{Broker, Outgoing, Publisher};
use crate::env::Env;
use crate::event::Record;
use crate::handler::Routes;
use crate::memory::{Memory, MemoryBroker};
use crate::runtime::{Handle, Runtime};
use crate::store::Parked;
use virtual_time::VirtualTime;

const SOURCE: &str = "events";
const NAME: &str = "service";

/// Partitions of the source; more than one, so that a service sees that keys are independent.
const PARTITIONS: u32 = 2;

/// Longer than this, in virtual time, no service needs for what was published.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

const TOML: &str = r#"
    [store.memory]
    [broker.main.memory]
    [subscription.service]
    source = "events"
"#;

/// A service under test. Everything it does happens inside [`settled`](Self::settled) and the other
/// awaits of this type; in between its time stands still.
pub struct Service {
    time: VirtualTime,
    env: Env,
    memory: Memory,
    broker: MemoryBroker,
    publisher: std::sync::Arc<dyn Publisher>,
    handle: Handle,
    numbers: std::sync::atomic::AtomicU64,
}

impl Service {
    /// Starts the service with its usual defaults, dead letters where attempts are used up.
    ///
    /// # Panics
    /// When the routes are refused, with what is wrong with them.
    pub async fn start(routes: Routes) -> Self {
        Self::configured(routes, "").await
    }

    /// The same with keys of `[subscription.service]` and its tables, as in the service's own file:
    /// `configured(routes, "[subscription.service.retry]\nattempts_max = 3")`.
    ///
    /// # Panics
    /// When the routes or the keys are refused, with what is wrong with them.
    pub async fn configured(routes: Routes, toml: &str) -> Self {
        let time = VirtualTime::new();
        let env = Env::new(time.clone());
        let memory = Memory::with_clock(&env);
        let broker = MemoryBroker::new();
        broker.create(SOURCE, PARTITIONS);
        let toml = merged(toml);
        let runtime = Runtime::from_text(toml)
            .env(env.clone())
            .store(memory.clone())
            .broker(broker.clone())
            .subscription(NAME, routes);
        let handle = time.drive(runtime.start()).await;
        let handle = handle.unwrap_or_else(|error| panic!("the service does not start: {error:?}"));
        let worker: std::sync::Arc<dyn Broker> = broker.worker(&env);
        let publisher = time.drive(worker.publisher()).await.expect("the memory broker is there");
        let numbers = std::sync::atomic::AtomicU64::new(1);
        Self { time, env, memory, broker, publisher, handle, numbers }
    }

    /// Publishes an event with an id of its own.
    pub async fn publish(&self, key: &str, kind: &str, payload: impl Into<Bytes>) {
        let number = self.numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.publish_as(&format!("event-{number}"), key, kind, payload).await;
    }

    /// Publishes an event under an id; the same id twice is a duplicate.
    ///
    /// # Panics
    /// When the memory broker refuses it, for its size.
    pub async fn publish_as(&self, id: &str, key: &str, kind: &str, payload: impl Into<Bytes>) {
        let record = Record::new(payload)
            .with_key(key.as_bytes().to_vec())
            .with_header("ce_specversion", "1.0")
            .with_header("ce_source", "test")
            .with_header("ce_id", id.as_bytes().to_vec())
            .with_header("ce_type", kind.as_bytes().to_vec());
        self.publish_record(record).await;
    }

    /// Publishes a record as it is, such as one that no decoder likes.
    ///
    /// # Panics
    /// When the memory broker refuses it, for its size.
    pub async fn publish_record(&self, record: Record) {
        let batch = vec![Outgoing { target: SOURCE.to_owned(), record }];
        for result in self.time.drive(self.publisher.publish(batch)).await {
            result.unwrap_or_else(|error| panic!("not published: {error:?}"));
        }
    }

    /// Completes when everything published is finished or dead, durably.
    ///
    /// # Panics
    /// When a day of virtual time does not do, or the subscription stopped.
    pub async fn settled(&self) {
        let until = self.env.now() + PATIENCE;
        let mut step = STEP;
        while !self.is_settled() {
            assert!(
                self.handle.is_running(),
                "the service stopped, by `on_exhausted = \"stop\"` or an error"
            );
            assert!(self.env.now() < until, "not settled after {PATIENCE:?} of virtual time");
            self.time.drive(self.env.sleep(step)).await;
            step = (step * 2).min(STEP_MAX);
        }
    }

    fn is_settled(&self) -> bool {
        (0..PARTITIONS).all(|partition| {
            let high = self.broker.records(SOURCE, partition).len() as u64;
            high == 0 || self.broker.committed(SOURCE, NAME, partition) == Some(high)
        })
    }

    /// The rows that handlers appended to a table of the memory store, as text.
    pub async fn effects(&self, table: &str) -> Vec<String> {
        let rows = self.time.drive(self.memory.rows(table)).await;
        rows.iter().map(|row| String::from_utf8_lossy(row).into_owned()).collect()
    }

    /// The dead letters, oldest first.
    ///
    /// # Panics
    /// Never: the memory store is there.
    pub async fn dead_letters(&self) -> Vec<Parked> {
        let admin = self.handle.admin();
        self.time.drive(admin.dead_letters(NAME, None, 1000)).await.expect("the memory store is there")
    }

    /// Releases a dead letter, as an operator would; [`settled`](Self::settled) does not wait for it, pass
    /// some [`time`](Self::pass).
    ///
    /// # Panics
    /// Never: the memory store is there.
    pub async fn release(&self, dead: &Parked) {
        let admin = self.handle.admin();
        self.time.drive(admin.release(dead.parked_id())).await.expect("the memory store is there");
    }

    /// Lets this much virtual time pass.
    pub async fn pass(&self, time: Duration) {
        self.time.drive(self.env.sleep(time)).await;
    }

    /// The store the service works on.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// How often it is looked whether all is settled, at first and at the least.
const STEP: Duration = Duration::from_millis(20);
const STEP_MAX: Duration = Duration::from_secs(60);

/// The default with the caller's keys over it: first his bare keys, then his tables. Where `retry` does not
/// say what follows the last attempt, the default says it.
fn merged(toml: &str) -> String {
    let tables = toml.lines().position(|line| line.trim_start().starts_with('[')).unwrap_or(usize::MAX);
    let lines = |from: usize, to: usize| {
        let lines: Vec<_> = toml.lines().skip(from).take(to - from).collect();
        lines.join("\n")
    };
    let (keys, mut tables) = (lines(0, tables), lines(tables, usize::MAX));
    if !tables.contains(RETRY) {
        tables = format!("{RETRY}\n{tables}");
    }
    if !tables.contains("on_exhausted") {
        tables = tables.replace(RETRY, &format!("{RETRY}\non_exhausted = \"skip\""));
    }
    format!("{TOML}\n{keys}\n{tables}")
}

const RETRY: &str = "[subscription.service.retry]";
