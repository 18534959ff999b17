//! The memory broker: partitioned logs, groups that share them, and rebalances, as a real one has them.
//!
//! One lock guards the server; whatever changes wakes every pull that waits. No task
//! and no thread runs: a revocation's limit is kept by the members that wait for the partition.

mod assign;
mod consumer;
mod log;
mod publisher;
mod pull;
mod server;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::broker::{
    Broker, BrokerAdapter, Capabilities, Consumer, ConsumerSpec, Partition, Publisher, Settles,
};
use crate::config::{NoKeys, Section};
use crate::env::Env;
use crate::error::{Class, Error, ErrorKind};
use crate::event::Record;
use consumer::MemoryConsumer;
use server::State;

/// One server in memory. Clones are handles on the same one:
///
/// ```
/// use keylane::memory::MemoryBroker;
/// let broker = MemoryBroker::new();
/// broker.create("orders", 3);
/// let same = broker.clone(); // for another runtime
/// ```
#[derive(Clone)]
pub struct MemoryBroker(Arc<Server>);

struct Server {
    state: Mutex<State>,
    /// Raised by every change; pulls wait for it.
    changed: Notify,
    handback_limit: Duration,
}

/// A record, with what holds it, is no larger.
pub(super) const RECORD_MAX: usize = 16 << 20;

const HANDBACK_LIMIT: Duration = Duration::from_secs(10);

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryBroker {
    /// A server without sources, where a revocation waits ten seconds for its handback.
    #[must_use]
    pub fn new() -> Self {
        Self::with_handback_limit(HANDBACK_LIMIT)
    }

    /// A server without sources, with another limit for handbacks.
    #[must_use]
    pub fn with_handback_limit(handback_limit: Duration) -> Self {
        let state = Mutex::new(State::default());
        Self(Arc::new(Server { state, changed: Notify::new(), handback_limit }))
    }

    /// Creates a source with so many partitions, at least one. One that exists stays as it is.
    pub fn create(&self, source: &str, partitions: u32) {
        self.change(|state| state.create(source, partitions.max(1)));
    }

    /// Deletes a source with all its records and groups; created anew it has another identity.
    pub fn delete(&self, source: &str) {
        self.change(|state| drop(state.sources.remove(source)));
    }

    /// Drops the records of a partition below an offset, as retention does.
    pub fn expire(&self, source: &str, partition: Partition, below: u64) {
        self.change(|state| {
            if let Some(log) = state.log_mut(source, partition) {
                log.expire(below);
            }
        });
    }

    /// Takes the server away, or brings it back: in between every call fails as without a server.
    pub fn set_away(&self, away: bool) {
        self.change(|state| state.away = away);
    }

    /// The records of a partition that are still there, oldest first.
    #[must_use]
    pub fn records(&self, source: &str, partition: Partition) -> Vec<Record> {
        self.state().log(source, partition).map(|log| log.records().cloned().collect()).unwrap_or_default()
    }

    /// How far the broker was told that a group is.
    #[must_use]
    pub fn committed(&self, source: &str, group: &str, partition: Partition) -> Option<u64> {
        self.state().sources.get(source)?.groups.get(group)?.committed.get(&partition).copied()
    }

    /// A connection for one worker.
    #[must_use]
    pub fn worker(&self, env: &Env) -> Arc<dyn Broker> {
        Arc::new(Connection { server: self.clone(), env: env.clone(), consumers: Mutex::new(Vec::new()) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the server and wakes who waits.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        // In the order in which they wait, and not by chance as a watch would: a simulation must see the
        // same order twice.
        self.0.changed.notify_waiters();
        changed
    }

    /// Until when a revocation that begins now waits for its handback.
    fn handback_by(&self, env: &Env) -> crate::env::Instant {
        env.now() + self.0.handback_limit
    }
}

impl std::fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryBroker")
    }
}

impl BrokerAdapter for MemoryBroker {
    const KIND: &'static str = "memory";
    type Config = NoKeys;
    type Subscription = NoKeys;

    async fn connect(&self, _config: NoKeys, env: &Env) -> Result<Arc<dyn Broker>, Error> {
        Ok(self.worker(env))
    }
}

/// What a worker has of the server.
struct Connection {
    server: MemoryBroker,
    env: Env,
    /// For `close`; a consumer that was dropped has left by itself.
    consumers: Mutex<Vec<Weak<MemoryConsumer>>>,
}

impl Connection {
    fn consumers(&self) -> MutexGuard<'_, Vec<Weak<MemoryConsumer>>> {
        self.consumers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Broker for Connection {
    fn capabilities(&self, _of: &Section) -> Result<Capabilities, Error> {
        Ok(capabilities())
    }

    async fn consumer(&self, spec: ConsumerSpec) -> Result<Arc<dyn Consumer>, Error> {
        let consumer = Arc::new(MemoryConsumer::join(&self.server, &self.env, &spec)?);
        let mut consumers = self.consumers();
        consumers.retain(|consumer| consumer.strong_count() > 0);
        consumers.push(Arc::downgrade(&consumer));
        Ok(consumer)
    }

    async fn publisher(&self) -> Result<Arc<dyn Publisher>, Error> {
        Ok(Arc::new(publisher::MemoryPublisher::new(&self.server, &self.env)))
    }

    async fn close(&self) {
        let consumers = std::mem::take(&mut *self.consumers());
        consumers.iter().filter_map(Weak::upgrade).for_each(|consumer| consumer.leave());
    }
}

const fn capabilities() -> Capabilities {
    Capabilities {
        kind: MemoryBroker::KIND,
        partitions: true,
        ordered: true,
        settles: Settles::Position,
        attempts: false,
        delay: None,
        extension_max: None,
        dead_letters: false,
        seek: true,
        redelivery_horizon: None,
    }
}

pub(super) fn away() -> Error {
    Error::new(ErrorKind::Broker, "the memory broker is away")
}

fn unknown_source(source: &str) -> Error {
    let what = format!("there is no source {source:?}; create it on the memory broker first");
    Error::new(ErrorKind::Broker, what).with_class(Class::Permanent)
}
