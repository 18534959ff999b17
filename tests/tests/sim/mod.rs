//! The first simulation: two workers and their replacements on the memory broker and the memory store,
//! in virtual time, under a seed that decides which task goes on, what is late, refused, frozen, killed.
//!
//! Held against a history of its own: every event has one effect; the effects of a key are in order; a
//! handler sees the committed effects of all earlier events of its key; afterwards everything drains.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keylane::broker::Outgoing;
use keylane::event::Record;
use keylane::memory::{Memory, MemoryBroker};
use keylane::{Context, Effects, Failure, Handle, RawEvent, Routes, Runtime, State, Tx};
use keylane_tests::faults::{FaultyStore, StoreFaults};
use keylane_tests::sim::{Node, World};

const TOML: &str = r#"
[runtime]
shards = 2
session = "3s"
grace = "1s"
handover_max = "4s"

[store.memory]
[broker.main.memory]

[subscription.orders]
source = "orders"
concurrency = 4
timeout = "2s"

[subscription.orders.retry]
attempts_max = 1000
delay = "20ms"
delay_max = "200ms"
on_exhausted = "stop"
crashes_max = 100
"#;

/// One world with its workers.
struct Stage {
    world: World,
    memory: Memory,
    broker: MemoryBroker,
    position_mode: bool,
    /// Handles live here by node, so that a worker ends only by a fault.
    handles: Arc<Mutex<Vec<(usize, Handle)>>>,
    nodes: Vec<Node>,
}

#[derive(Clone)]
struct Watch {
    world: World,
    memory: Memory,
    node: usize,
    env: keylane::Env,
    broken: Arc<Mutex<Vec<String>>>,
}

const KEYS: u64 = 6;

async fn handle(
    event: RawEvent,
    State(watch): State<Watch>,
    mut fx: Effects<Memory>,
    cx: Context,
) -> Result<(), Failure> {
    let key = event.meta().key_text().unwrap_or_default();
    let number: u64 = std::str::from_utf8(&event)?.parse()?;
    let (node, attempt) = (watch.node, cx.attempt());
    watch.world.note(format_args!("node {node} start {key}/{number} attempt {attempt}"));
    let seen = last_of(&watch.memory, &key).await;
    if seen + 1 < number {
        let what = format!("node {node} handles {key}/{number}, and sees the effects up to {seen} only");
        watch.broken.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
    watch.env.sleep(Duration::from_micros(watch.env.random() % 20_000)).await;
    if watch.env.random().is_multiple_of(10) {
        return Err(Failure::new("simulated: a transient failure"));
    }
    fx.commit_with((key.clone(), number), async |mut tx: Tx<Memory>, (key, number): (String, u64)| {
        tx.append("effects", format!("{key}/{number}"));
        tx.put("last", key, number.to_string());
        tx.done()
    });
    watch.world.note(format_args!("node {node} stop {key}/{number}"));
    Ok(())
}

async fn last_of(memory: &Memory, key: &str) -> u64 {
    let stored = memory.read("last", key.to_owned()).await;
    stored.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok()).unwrap_or(0)
}

impl Stage {
    fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let memory = Memory::with_clock(&world.node().env());
        let broker = MemoryBroker::with_handback_limit(Duration::from_secs(5));
        broker.create("orders", 3);
        Self {
            world,
            memory,
            broker,
            position_mode: seed % 2 == 1,
            handles: Arc::default(),
            nodes: Vec::new(),
        }
    }

    /// Publishes `each` events for every key over some seconds, one in eight of them twice.
    fn publish(&self, each: u64) {
        let env = self.world.node().env();
        let broker = self.broker.worker(&env);
        let twice = !self.position_mode;
        let pause = env.clone();
        env.spawn("publish", async move {
            let publisher = broker.publisher().await.unwrap();
            for number in 1..=each {
                for key in 0..KEYS {
                    let record = Record::new(number.to_string())
                        .with_key(format!("k{key}"))
                        .with_header("ce_specversion", "1.0")
                        .with_header("ce_source", "sim")
                        .with_header("ce_type", "tick")
                        .with_header("ce_id", format!("k{key}/{number}"));
                    let times = if twice && pause.random().is_multiple_of(8) { 2 } else { 1 };
                    for _ in 0..times {
                        let outgoing = Outgoing { target: "orders".into(), record: record.clone() };
                        for result in publisher.publish(vec![outgoing]).await {
                            result.unwrap();
                        }
                    }
                }
                pause.sleep(Duration::from_micros(pause.random() % 1_000_000)).await;
            }
        });
    }

    fn worker(&mut self, broken: &Arc<Mutex<Vec<String>>>) {
        let node = self.world.node();
        let env = node.env();
        let watch = Watch {
            world: self.world.clone(),
            memory: self.memory.clone(),
            node: node.number(),
            env: env.clone(),
            broken: broken.clone(),
        };
        let mode = if self.position_mode { "position" } else { "id" };
        let toml = format!("{TOML}\n[subscription.orders.ledger]\nmode = \"{mode}\"\n");
        let faults = StoreFaults { latency_max: Duration::from_millis(8), refused: 10, answer_lost: 15 };
        let layer_env = env.clone();
        let runtime = Runtime::from_text(toml)
            .env(env.clone())
            .store(self.memory.clone())
            .store_layer(move |store| Arc::new(FaultyStore::new(store, layer_env.clone(), faults)))
            .broker(self.broker.clone())
            .subscription("orders", Routes::new().on("tick", handle).with_state(watch));
        let (handles, world, number) = (self.handles.clone(), self.world.clone(), node.number());
        let again = env.clone();
        env.spawn("start", async move {
            match runtime.start().await {
                Ok(handle) => handles.lock().unwrap_or_else(PoisonError::into_inner).push((number, handle)),
                // The store was refusing: as a service would, the process ends; a replacement comes.
                Err(error) => {
                    world.note(format_args!("node {number} did not start: {error}"));
                    again.abandon();
                }
            }
        });
        self.nodes.push(node);
    }

    /// One fault by chance; every worker that is gone gets a replacement.
    fn disturb(&mut self, broken: &Arc<Mutex<Vec<String>>>) {
        let running: Vec<Node> = self.nodes.iter().filter(|node| !node.is_crashed()).cloned().collect();
        if let Some(node) = running.get(usize::try_from(self.world.random(running.len() as u64)).unwrap_or(0))
        {
            match self.world.random(4) {
                0 => {
                    self.world.note(format_args!("crash node {}", node.number()));
                    node.crash_after(1 + self.world.random(200));
                }
                1 => {
                    self.world.note(format_args!("freeze node {}", node.number()));
                    node.freeze();
                }
                2 => {
                    self.world.note(format_args!("clock of node {} jumps", node.number()));
                    node.set_wall_forward(Duration::from_secs(self.world.random(10)));
                }
                _ => {}
            }
        }
        self.pass(Duration::from_millis(self.world.random(6_000)));
        for node in &self.nodes {
            node.thaw();
        }
        self.replace_dead(broken);
    }

    fn pass(&self, time: Duration) {
        let until = self.world.now() + time;
        self.world.run_until(until, || false);
    }

    fn effects(&self) -> Vec<String> {
        let memory = self.memory.clone();
        self.world.block_on(Duration::from_secs(600), async move {
            let rows = memory.rows("effects").await;
            rows.iter().map(|row| String::from_utf8_lossy(row).into_owned()).collect()
        })
    }
}

/// Runs one seed; the trace, or what is broken.
fn run(seed: u64, each: u64) -> Result<Vec<String>, String> {
    let mut stage = Stage::new(seed);
    let broken = Arc::new(Mutex::new(Vec::new()));
    stage.publish(each);
    stage.worker(&broken);
    stage.worker(&broken);
    for _ in 0..stage.world.random(6) {
        stage.pass(Duration::from_millis(stage.world.random(1_000)));
        stage.disturb(&broken);
    }
    let expected = usize::try_from(each * KEYS).unwrap_or(0);
    let limit = stage.world.now() + Duration::from_secs(300);
    let mut effects = stage.effects();
    while effects.len() < expected && stage.world.now() < limit {
        stage.pass(Duration::from_secs(1));
        stage.replace_dead(&broken);
        effects = stage.effects();
    }
    // Time for what should not come any more.
    stage.pass(Duration::from_secs(5));
    effects = stage.effects();
    let mut wrong = broken.lock().unwrap_or_else(PoisonError::into_inner).clone();
    wrong.extend(check(&effects, each));
    let trace = stage.world.trace();
    if wrong.is_empty() {
        Ok(trace)
    } else {
        Err(format!("seed {seed}: {}\n{}", wrong.join("\n"), tail(&trace)))
    }
}

fn tail(trace: &[String]) -> String {
    let from = if std::env::var("KEYLANE_SIM_SEED").is_ok() { 0 } else { trace.len().saturating_sub(60) };
    trace[from..].join("\n")
}

impl Stage {
    /// The broker notices that a worker is gone, and a replacement comes.
    fn replace_dead(&mut self, broken: &Arc<Mutex<Vec<String>>>) {
        let dead: BTreeSet<usize> =
            self.nodes.iter().filter(|node| node.is_crashed()).map(Node::number).collect();
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = handles.extract_if(.., |(node, _)| dead.contains(node)).collect();
        drop(handles);
        drop(gone);
        while self.nodes.iter().filter(|node| !node.is_crashed()).count() < 2 {
            self.worker(broken);
        }
    }
}

/// The checker: nothing lost, nothing doubled, in order.
fn check(effects: &[String], each: u64) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for effect in effects {
        if !seen.insert(effect) {
            wrong.push(format!("{effect} has two effects"));
        }
        let (key, number) = effect.split_once('/').expect("effects are written as key/number");
        let number: u64 = number.parse().expect("effects are written as key/number");
        let before = last.insert(key, number).unwrap_or(0);
        if number != before + 1 {
            wrong.push(format!("{effect} follows {key}/{before}"));
        }
    }
    for key in 0..KEYS {
        for number in 1..=each {
            let event = format!("k{key}/{number}");
            if !seen.contains(&event) {
                wrong.push(format!("{event} has no effect"));
            }
        }
    }
    wrong
}

fn seeds() -> u64 {
    std::env::var("KEYLANE_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1000)
}

#[test]
fn sim_a_thousand_seeds_keep_the_promises() {
    let from = std::env::var("KEYLANE_SIM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let one = std::env::var("KEYLANE_SIM_SEED").is_ok();
    if one {
        // A single seed tells its story.
        tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG).init();
    }
    let count = if one { 1 } else { seeds() };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                scope.spawn(move || {
                    let mine = (from..from + count).filter(|seed| seed % threads == part);
                    mine.filter_map(|seed| run(seed, 12).err()).take(3).collect::<Vec<_>>()
                })
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("a seed panicked")).collect()
    });
    assert!(wrong.is_empty(), "{} seeds are broken\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn sim_the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        let (first, second) = (run(seed, 8), run(seed, 8));
        assert_eq!(first, second, "seed {seed}");
        assert!(first.is_ok_and(|trace| trace.len() > 60), "seed {seed} has next to no trace");
    }
}
