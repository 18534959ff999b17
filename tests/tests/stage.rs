//! A small stage for stories about whole runtimes: workers in a simulated world, whose handlers write down who
//! did what.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keylane::broker::Outgoing;
use keylane::event::Record;
use keylane::memory::{Memory, MemoryBroker};
use keylane::{Effects, Env, Failure, Handle, RawEvent, Routes, Runtime, State, Tx};
use keylane_tests::faults::{FaultyStore, Link, StoreFaults};
use keylane_tests::sim::{Node, World};

pub(super) const TOML: &str = r#"
    [runtime]
    shards = 1
    session = "3s"
    grace = "1s"
    handover_max = "4s"
    drain_max = "2s"
    [store.memory]
    [broker.main.memory]
    [subscription.orders]
    source = "orders"
    concurrency = 8
    timeout = "1s"
    [subscription.orders.retry]
    attempts_max = 1
    on_exhausted = "skip"
"#;

pub(super) struct Stage {
    pub(super) world: World,
    pub(super) env: Env,
    pub(super) memory: Memory,
    pub(super) broker: MemoryBroker,
    pub(super) lines: Lines,
}

/// Who did what, in order.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    pub(super) fn note(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn has(&self, line: &str) -> bool {
        self.all().iter().any(|known| known == line)
    }
}

pub(super) struct Worker {
    pub(super) node: Node,
    pub(super) env: Env,
    pub(super) to_store: Link,
    handle: Arc<Mutex<Option<Handle>>>,
}

impl Worker {
    pub(super) fn handle(&self) -> Handle {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner).clone().expect("it started")
    }
}

/// What a handler knows of where it runs.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) node: usize,
    pub(super) env: Env,
    pub(super) lines: Lines,
}

/// A run that is open; its end is noted however it comes.
pub(super) struct Run(Lines, String);

impl Drop for Run {
    fn drop(&mut self) {
        self.0.note(format!("end {}", self.1));
    }
}

impl Place {
    pub(super) fn begin(&self, payload: &str) -> Run {
        self.lines.note(format!("begin {payload}"));
        Run(self.lines.clone(), payload.to_owned())
    }
}

impl Stage {
    pub(super) fn new() -> Self {
        let world = World::new(7);
        let env = world.node().env();
        let broker = MemoryBroker::new();
        broker.create("orders", 2);
        Self { memory: Memory::with_clock(&env), env, world, broker, lines: Lines::default() }
    }

    pub(super) fn publish(&self, events: Vec<(String, String)>) {
        let broker = self.broker.worker(&self.env);
        self.world.block_on(Duration::from_secs(1), async move {
            let publisher = broker.publisher().await.unwrap();
            let record = |(key, payload): (String, String)| Record::new(payload).with_key(key);
            let outgoing = |event| Outgoing { target: "orders".into(), record: record(event) };
            for published in publisher.publish(events.into_iter().map(outgoing).collect()).await {
                published.unwrap();
            }
        });
    }

    pub(super) fn start(&self, toml: &str, node: Node, store: StoreFaults, routes: Routes<Place>) -> Worker {
        let (env, to_store) = (node.env(), Link::default());
        let (own, link) = (env.clone(), to_store.clone());
        let place = Place { node: node.number(), env: env.clone(), lines: self.lines.clone() };
        let runtime = Runtime::from_text(toml).env(env.clone()).store(self.memory.clone());
        let runtime = runtime.broker(self.broker.clone()).store_layer(move |inner| {
            Arc::new(FaultyStore::new(inner, own.clone(), store).over(link.clone()))
        });
        let runtime = runtime.subscription("orders", routes.with_state(place));
        let handle = Arc::new(Mutex::new(None));
        let slot = handle.clone();
        env.spawn("start", async move {
            let started = runtime.start().await.unwrap();
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(started);
        });
        Worker { node, env, to_store, handle }
    }

    /// Runs until a line is there.
    pub(super) fn until(&self, line: &str) {
        let limit = self.world.now() + Duration::from_secs(600);
        let there = self.world.run_until(limit, || self.lines.has(line));
        assert!(there, "no {line:?} in {:#?}", self.lines.all());
    }

    pub(super) fn pass(&self, time: Duration) {
        self.world.run_until(self.world.now() + time, || false);
    }

    pub(super) fn effects(&self) -> Vec<String> {
        let memory = self.memory.clone();
        let rows = self.world.block_on(Duration::from_secs(60), async move { memory.rows("effects").await });
        rows.iter().map(|row| String::from_utf8_lossy(row).into_owned()).collect()
    }
}

/// Takes a moment, and says who wrote.
pub(super) async fn signs(
    event: RawEvent,
    State(place): State<Place>,
    mut fx: Effects<Memory>,
) -> Result<(), Failure> {
    let payload = String::from_utf8_lossy(&event).into_owned();
    let node = place.node;
    let _run = place.begin(&format!("{node} {payload}"));
    place.env.sleep(Duration::from_millis(50)).await;
    fx.commit_with((node, payload), async |mut tx: Tx<Memory>, (node, payload): (usize, String)| {
        tx.append("effects", format!("{node} {payload}"));
        tx.done()
    });
    Ok(())
}
