//! The story of a seed: who publishes, who works, and what goes wrong when.

mod trouble;

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use keylane::broker::{Outgoing, Publisher};
use keylane::memory::{Memory, MemoryBroker};
use keylane::store::{DeadQuery, Death, Parked, Reason, SessionId, Store};
use keylane::{Env, Handle, Runtime};

use crate::account::Account;
use crate::event::Event;
use crate::faults::{Calm, FaultyBroker, FaultyStore, Link};
use crate::handlers::Service;
use crate::history::{History, Places};
use crate::mix::{Ledger, Mix};
use crate::server::SimServer;
use crate::world::{Node, World};

/// So many keys.
pub(crate) const KEYS: u64 = 6;

/// One for each partition.
const WORKERS_MAX: usize = 3;

/// One world with its workers.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) history: History,
    mix: Mix,
    memory: Memory,
    places: Places,
    calm: Calm,
    /// Who tells the story; what it runs dies with nobody.
    env: Env,
    /// Handles live here by node, so that a worker ends only by a fault or when it is asked to.
    handles: Arc<Mutex<Vec<(usize, Handle)>>>,
    workers: Vec<Worker>,
    published: Arc<Mutex<bool>>,
}

struct Worker {
    node: Node,
    to_store: Link,
    to_broker: Link,
}

impl Stage {
    pub(crate) fn new(seed: u64, mix: Mix) -> Self {
        let world = World::new(seed);
        let env = world.node().env();
        let memory = Memory::with_clock(&env);
        let places = if mix.profile.is_leased() {
            let visible = mix.profile.is_ordered().then_some(mix.visible_for);
            Places::Server(SimServer::new(mix.profile, env.clone(), visible, mix.server))
        } else {
            let broker = MemoryBroker::with_handback_limit(mix.handback_max);
            broker.create("orders", 3);
            Places::Log(broker)
        };
        let history = History::new(&world, mix);
        let (handles, workers, calm) = (Arc::default(), Vec::new(), Calm::default());
        let published = Arc::default();
        let mut stage = Self { world, history, mix, memory, places, calm, env, handles, workers, published };
        for _ in 0..mix.workers {
            stage.worker();
        }
        stage
    }

    /// Publishes `each` events for every key over some seconds, one in eight of them twice.
    pub(crate) fn publish(&self, each: u64) {
        let twice = self.mix.ledger != Ledger::Position;
        // Slow handlers get a backlog: what is buffered lasts longer than any hand-over.
        let every = if self.mix.is_slow() { 200_000 } else { 1_000_000 };
        let (pause, mix, world) = (self.env.clone(), self.mix, self.world.clone());
        let (places, done) = (self.places.clone(), self.published.clone());
        self.env.spawn("publish", async move {
            let publisher = publisher(&places, &pause).await;
            let most = mix.events_of(0, each);
            for number in 1..=most {
                for key in (0..KEYS).filter(|key| number <= mix.events_of(*key, each)) {
                    let event = Event::new(key, number);
                    let mut events = vec![event];
                    if twice && pause.random().is_multiple_of(8) {
                        events.push(event);
                    }
                    if mix.is_conflicted(event) {
                        events.push(Event { other: true, ..event });
                    }
                    for event in events {
                        world.note(format_args!("{event} is published"));
                        let outgoing = Outgoing { target: "orders".into(), record: event.record() };
                        for result in publisher.publish(vec![outgoing]).await {
                            result.expect("the publisher's way is never cut");
                        }
                    }
                }
                let every = if number > each { every / 500 } else { every };
                pause.sleep(Duration::from_micros(pause.random() % every)).await;
            }
            *done.lock().unwrap_or_else(PoisonError::into_inner) = true;
        });
    }

    pub(crate) fn is_published(&self) -> bool {
        *self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that is ever published, each once.
    pub(crate) fn all(&self, each: u64) -> Vec<Event> {
        let right = (0..KEYS)
            .flat_map(|key| (1..=self.mix.events_of(key, each)).map(move |number| Event::new(key, number)));
        let with_other = right.flat_map(|event| {
            let other = self.mix.is_conflicted(event).then_some(Event { other: true, ..event });
            std::iter::once(event).chain(other)
        });
        with_other.collect()
    }

    /// What the broker still waits to hear of, where it is told of each.
    pub(crate) fn unsettled(&self) -> Vec<Event> {
        match &self.places {
            Places::Log(_) => Vec::new(),
            Places::Server(server) => server.unsettled(),
        }
    }

    fn worker(&mut self) {
        let node = self.world.node();
        let (env, number) = (node.env(), node.number());
        let eyes = self.history.eyes(&node, self.places.clone());
        let (to_store, to_broker) = (Link::default(), Link::default());
        let (mix, history, memory, calm) =
            (self.mix, self.history.clone(), self.memory.clone(), self.calm.clone());
        let service =
            Service { mix, history, memory, node: node.clone(), env: env.clone(), calm: calm.clone() };
        let (link, own, looks, quiet) = (to_store.clone(), env.clone(), eyes.clone(), calm.clone());
        let store = move |store| -> Arc<dyn Store> {
            let store = crate::mutants::store(store, &own);
            let faulty = FaultyStore::new(store, own.clone(), mix.store).calmed_by(quiet.clone());
            Arc::new(faulty.over(link.clone()).watched(looks.clone()))
        };
        let (link, own) = (to_broker.clone(), env.clone());
        let broker = move |broker| -> Arc<dyn keylane::broker::Broker> {
            let faulty = FaultyBroker::new(broker, own.clone(), mix.broker, link.clone(), eyes.clone());
            Arc::new(faulty.calmed_by(calm.clone()))
        };
        let runtime = Runtime::from_text(mix.toml()).env(env.clone()).store(self.memory.clone());
        let runtime = match &self.places {
            Places::Log(log) => runtime.broker(log.clone()),
            Places::Server(server) => runtime.broker(server.adapter(number)),
        };
        let runtime = runtime.store_layer(store).broker_layer(broker);
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

    fn thaw(&self) {
        for worker in self.workers.iter().filter(|worker| worker.node.is_frozen()) {
            self.history.stirred(worker.node.number());
            worker.node.thaw();
        }
    }

    /// Everything works from now on.
    pub(crate) fn calm(&mut self) {
        self.calm.begin();
        self.thaw();
        for worker in &self.workers {
            worker.to_store.mend();
            worker.to_broker.mend();
        }
        if let Places::Server(server) = &self.places {
            server.calm();
        }
        self.history.calm();
        self.replace_dead();
    }

    pub(crate) fn pass(&self, time: Duration) {
        let until = self.world.now() + time;
        self.world.run_until(until, || false);
    }

    /// The broker notices that a worker is gone, and a replacement comes.
    pub(crate) fn replace_dead(&mut self) {
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
                self.history.wrong(format!("node {node} stopped: {error:?}"));
            }
        }
        while self.workers.iter().filter(|worker| !worker.node.is_crashed()).count() < 2 {
            self.worker();
        }
    }

    /// An operator has one dead letter tried again.
    fn release_one(&self) {
        let meant = |row: &Parked| row.reason != Reason::Dead(Death::Conflict);
        let dead: Vec<Parked> = self.account().dead.into_iter().filter(meant).collect();
        if dead.is_empty() {
            return;
        }
        let chosen = usize::try_from(self.world.random(dead.len() as u64)).unwrap_or(0);
        let (row, store) = (dead[chosen].clone(), self.memory.worker(&self.env));
        if let Some(event) = Event::of_record(&row.record) {
            self.history.released(event);
        }
        self.world.block_on(Duration::from_secs(60), async move {
            store.request_release(row.parked_id()).await.expect("the memory store is there");
        });
    }

    pub(crate) fn account(&self) -> Account {
        let memory = self.memory.clone();
        let store = self.memory.worker(&self.env);
        self.world.block_on(Duration::from_secs(600), async move {
            let rows = memory.rows("effects").await;
            let event = |row: &[u8]| Event::parse(std::str::from_utf8(row).ok()?);
            let effects = rows.iter().filter_map(|row| event(row)).collect();
            let query = DeadQuery { subscription: "orders".into(), after: None, limit: 1000 };
            let dead = store.dead_letters(query).await.expect("the memory store is there");
            Account { effects, dead }
        })
    }

    /// Keys have leases that come and go.
    pub(crate) fn is_leased(&self) -> bool {
        self.mix.profile.is_leased() && !self.mix.local
    }

    /// What living workers' sessions have leased.
    pub(crate) fn leased(&self) -> Vec<String> {
        let sessions: Vec<(usize, SessionId)> = self.history.sessions();
        let store = self.memory.worker(&self.env);
        self.world.block_on(Duration::from_secs(600), async move {
            let mut leased = Vec::new();
            for (node, session) in sessions {
                let held = store.leases(session).await.expect("the memory store is there");
                let name = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
                leased.extend(held.iter().map(|held| format!("{} by node {node}", name(&held.lease.key))));
            }
            leased
        })
    }

    /// The numbers of the workers that are there.
    pub(crate) fn running(&self) -> Vec<usize> {
        let running = self.workers.iter().filter(|worker| !worker.node.is_crashed());
        running.map(|worker| worker.node.number()).collect()
    }

    /// Ends the world: what its tasks hold is free.
    pub(crate) fn end(self) {
        self.workers.iter().for_each(|worker| worker.node.crash());
        self.env.abandon();
        drop(std::mem::take(&mut *self.handles.lock().unwrap_or_else(PoisonError::into_inner)));
    }
}

async fn publisher(places: &Places, env: &Env) -> Arc<dyn Publisher> {
    use keylane::broker::Broker;
    let broker: Arc<dyn Broker> = match places {
        Places::Log(log) => log.worker(env),
        Places::Server(server) => Arc::new(server.adapter(usize::MAX)),
    };
    broker.publisher().await.expect("the publisher's way is never cut")
}
