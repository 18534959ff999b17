//! The story of a seed: who publishes, who works, and what goes wrong when.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use keylane::broker::Outgoing;
use keylane::event::Record;
use keylane::memory::{Memory, MemoryBroker};
use keylane::store::{DeadQuery, Store};
use keylane::{Env, Handle, Runtime};
use keylane_tests::faults::{FaultyBroker, FaultyStore, Link};
use keylane_tests::sim::{Node, World};

use super::account::Account;
use super::handlers::Service;
use super::history::{Event, History};
use super::mix::Mix;

pub(super) const KEYS: u64 = 6;

/// One for each partition.
const WORKERS_MAX: usize = 3;

/// One world with its workers.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) history: History,
    mix: Mix,
    memory: Memory,
    broker: MemoryBroker,
    /// Who tells the story; what it runs dies with nobody.
    env: Env,
    /// Handles live here by node, so that a worker ends only by a fault or when it is asked to.
    handles: Arc<Mutex<Vec<(usize, Handle)>>>,
    workers: Vec<Worker>,
}

struct Worker {
    node: Node,
    to_store: Link,
    to_broker: Link,
}

impl Stage {
    pub(super) fn new(seed: u64, mix: Mix) -> Self {
        let world = World::new(seed);
        let env = world.node().env();
        let memory = Memory::with_clock(&env);
        let broker = MemoryBroker::with_handback_limit(mix.handback_max);
        broker.create("orders", 3);
        let history = History::new(&world, &broker);
        let (handles, workers) = (Arc::default(), Vec::new());
        let mut stage = Self { world, history, mix, memory, broker, env, handles, workers };
        stage.worker();
        stage.worker();
        stage
    }

    /// Publishes `each` events for every key over some seconds, one in eight of them twice.
    pub(super) fn publish(&self, each: u64) {
        let broker = self.broker.worker(&self.env);
        let twice = !self.mix.position;
        // Slow handlers get a backlog: what is buffered lasts longer than any hand-over.
        let every = if self.mix.is_slow() { 200_000 } else { 1_000_000 };
        let pause = self.env.clone();
        self.env.spawn("publish", async move {
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
                pause.sleep(Duration::from_micros(pause.random() % every)).await;
            }
        });
    }

    pub(super) fn published(each: u64) -> impl Iterator<Item = Event> {
        (0..KEYS).flat_map(move |key| (1..=each).map(move |number| Event { key, number }))
    }

    fn worker(&mut self) {
        let node = self.world.node();
        let (env, number) = (node.env(), node.number());
        let eyes = self.history.eyes(number, &env);
        let (to_store, to_broker) = (Link::default(), Link::default());
        let (mix, history, memory) = (self.mix, self.history.clone(), self.memory.clone());
        let service = Service { mix, history, memory, node: number, env: env.clone() };
        let (link, own, looks) = (to_store.clone(), env.clone(), eyes.clone());
        let store = move |store| -> Arc<dyn Store> {
            let faulty = FaultyStore::new(store, own.clone(), mix.store);
            Arc::new(faulty.over(link.clone()).watched(looks.clone()))
        };
        let (link, own) = (to_broker.clone(), env.clone());
        let broker = move |broker| -> Arc<dyn keylane::broker::Broker> {
            Arc::new(FaultyBroker::new(broker, own.clone(), mix.broker, link.clone(), eyes.clone()))
        };
        let runtime = Runtime::from_text(mix.toml()).env(env.clone()).store(self.memory.clone());
        let runtime = runtime.store_layer(store).broker(self.broker.clone()).broker_layer(broker);
        let runtime = runtime.subscription("orders", service.routes());
        let (handles, world, again) = (self.handles.clone(), self.world.clone(), env.clone());
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
        self.workers.push(Worker { node, to_store, to_broker });
    }

    /// One fault by chance, some time for it to show, and a replacement for every worker that is gone.
    pub(super) fn disturb(&mut self) {
        let running: Vec<&Worker> = self.workers.iter().filter(|worker| !worker.node.is_crashed()).collect();
        let chosen = usize::try_from(self.world.random(running.len() as u64)).unwrap_or(0);
        let newcomer = running.get(chosen).is_some_and(|worker| self.befall(worker));
        if newcomer && running.len() < WORKERS_MAX {
            self.worker();
        }
        self.pass(Duration::from_millis(self.world.random(6_000)));
        for worker in &self.workers {
            worker.node.thaw();
            self.history.stirred(worker.node.number());
        }
        self.replace_dead();
    }

    /// True when another worker is to join meanwhile.
    fn befall(&self, worker: &Worker) -> bool {
        let (node, env) = (&worker.node, worker.node.env());
        let number = node.number();
        let time = Duration::from_millis(self.world.random(9_000));
        let what = match self.world.random(8) {
            0 => {
                node.crash_after(1 + self.world.random(200));
                "crashes"
            }
            1 => {
                node.freeze();
                "freezes"
            }
            2 => {
                node.set_wall_forward(time);
                self.history.stirred(number);
                "has another wall time"
            }
            3 => {
                worker.to_store.cut(&env, time);
                "is cut off from its store"
            }
            4 => {
                worker.to_broker.cut(&env, time);
                "is cut off from its broker"
            }
            5 => {
                // It does not hear that it has to share; only its store can tell it (rule S5).
                worker.to_broker.cut(&env, Duration::from_secs(12));
                "is cut off from its broker, and another one joins"
            }
            6 => {
                let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
                handles.iter().filter(|(of, _)| *of == number).for_each(|(_, handle)| handle.shutdown());
                "is asked to stop"
            }
            _ => return false,
        };
        self.world.note(format_args!("node {number} {what}"));
        what.ends_with("joins")
    }

    pub(super) fn pass(&self, time: Duration) {
        let until = self.world.now() + time;
        self.world.run_until(until, || false);
    }

    /// The broker notices that a worker is gone, and a replacement comes.
    pub(super) fn replace_dead(&mut self) {
        let crashed = self.workers.iter().map(|worker| &worker.node).filter(|node| node.is_crashed());
        let dead: BTreeSet<usize> = crashed.map(Node::number).collect();
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = handles.extract_if(.., |(node, _)| dead.contains(node)).collect();
        drop(handles);
        for (node, handle) in gone {
            // A worker that ended by itself says why; one that was killed says nothing.
            if let Poll::Ready(Err(error)) =
                pin!(handle.join()).as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                self.history.seen().wrong.push(format!("node {node} stopped: {error:?}"));
            }
        }
        while self.workers.iter().filter(|worker| !worker.node.is_crashed()).count() < 2 {
            self.worker();
        }
    }

    pub(super) fn account(&self) -> Account {
        let memory = self.memory.clone();
        let store = self.memory.worker(&self.env);
        self.world.block_on(Duration::from_secs(600), async move {
            let rows = memory.rows("effects").await;
            let effects = rows.iter().map(|row| String::from_utf8_lossy(row).into_owned()).collect();
            let query = DeadQuery { subscription: "orders".into(), after: None, limit: 1000 };
            let dead = store.dead_letters(query).await.unwrap();
            Account { effects, dead }
        })
    }

    /// Ends the world: what its tasks hold is free.
    pub(super) fn end(self) {
        self.workers.iter().for_each(|worker| worker.node.crash());
        self.env.abandon();
        drop(std::mem::take(&mut *self.handles.lock().unwrap_or_else(PoisonError::into_inner)));
    }
}
