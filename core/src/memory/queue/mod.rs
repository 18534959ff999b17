//! Queues in memory: no partitions, every delivery settled on its own, as RabbitMQ has them.
//!
//! A server of its own beside [`MemoryBroker`](super::MemoryBroker), because a broker says what it can do before it
//! knows of a source. One lock guards it; whatever changes wakes every pull that waits. No task and no thread runs.

mod consumer;
mod line;
mod publisher;
mod server;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::broker::away;
use crate::broker::{Broker, BrokerAdapter, Capabilities, Consumer, ConsumerSpec, Publisher, Settles};
use crate::config::{NoKeys, Section};
use crate::env::Env;
use crate::error::{Class, Error, ErrorKind};
use consumer::QueueConsumer;
use server::State;

/// One server with queues in memory. Clones are handles on the same one:
///
/// ```
/// use keylane::memory::MemoryQueues;
/// let queues = MemoryQueues::new();
/// queues.create("emails");
/// let same = queues.clone(); // for another runtime
/// assert_eq!(same.queued("emails").map(|emails| emails.ready), Some(0));
/// ```
///
/// A message goes to whichever consumer pulls first, whatever its group: a queue has one group, its readers. What is
/// given back, and what a consumer had when its connection ended, goes to its old place in the line.
#[derive(Clone)]
pub struct MemoryQueues(Arc<Server>);

struct Server {
    state: Mutex<State>,
    /// Raised by every change; pulls wait for it.
    changed: Notify,
}

/// How many messages a queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    /// Waiting in the line.
    pub ready: usize,
    /// Handed over to a consumer and not settled.
    pub unsettled: usize,
    /// Hand-overs so far of messages that had been handed over before.
    pub redelivered: u64,
}

/// What RabbitMQ grants a consumer by default before it takes back what is not acked.
const REDELIVERY_HORIZON: Duration = Duration::from_secs(30 * 60);

impl Default for MemoryQueues {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryQueues {
    /// A server without queues.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Server { state: Mutex::default(), changed: Notify::new() }))
    }

    /// Creates a queue. One that exists stays as it is.
    pub fn create(&self, queue: &str) {
        self.change(|state| state.create(queue));
    }

    /// Deletes a queue with all its messages; those that are unsettled are gone as well.
    pub fn delete(&self, queue: &str) {
        self.change(|state| drop(state.queues.remove(queue)));
    }

    /// Ends the connection of every consumer of a queue: what they had is ready again at once, and each hears
    /// [`Change::Void`](crate::broker::Change::Void) before the first delivery of its next connection.
    pub fn cut(&self, queue: &str) {
        self.with_queue(queue, |line| line.cut_all());
    }

    /// The same with one consumer, by its number among [`consumers`](Self::consumers).
    pub fn cut_consumer(&self, queue: &str, consumer: u64) {
        self.with_queue(queue, |line| line.cut(consumer));
    }

    /// The numbers of a queue's connected consumers, in the order in which they were made. A consumer keeps its
    /// number when its connection is replaced.
    #[must_use]
    pub fn consumers(&self, queue: &str) -> Vec<u64> {
        self.state().queues.get(queue).map(|line| line.consumers().collect()).unwrap_or_default()
    }

    /// Takes the server away, or brings it back: in between every call fails as without a server. All connections
    /// end with it; the messages stay.
    pub fn set_away(&self, away: bool) {
        self.change(|state| state.set_away(away));
    }

    /// How many messages a queue holds; `None` when there is no such queue.
    #[must_use]
    pub fn queued(&self, queue: &str) -> Option<Queued> {
        self.state().queues.get(queue).map(line::Line::counts)
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
        // In the order in which they wait: a simulation must see the same order twice.
        self.0.changed.notify_waiters();
        changed
    }

    fn with_queue(&self, queue: &str, change: impl FnOnce(&mut line::Line)) {
        self.change(|state| state.queues.get_mut(queue).map(change));
    }
}

impl std::fmt::Debug for MemoryQueues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryQueues")
    }
}

impl BrokerAdapter for MemoryQueues {
    const KIND: &'static str = "memory_queues";
    type Config = NoKeys;
    type Subscription = NoKeys;

    async fn connect(&self, _config: NoKeys, env: &Env) -> Result<Arc<dyn Broker>, Error> {
        Ok(self.worker(env))
    }
}

/// What a worker has of the server.
struct Connection {
    server: MemoryQueues,
    env: Env,
    /// For `close`; a consumer that was dropped has left by itself.
    consumers: Mutex<Vec<Weak<QueueConsumer>>>,
}

impl Connection {
    fn consumers(&self) -> MutexGuard<'_, Vec<Weak<QueueConsumer>>> {
        self.consumers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Broker for Connection {
    fn capabilities(&self, _of: &Section) -> Result<Capabilities, Error> {
        Ok(capabilities())
    }

    async fn consumer(&self, spec: ConsumerSpec) -> Result<Arc<dyn Consumer>, Error> {
        let consumer = Arc::new(QueueConsumer::join(&self.server, &spec)?);
        let mut consumers = self.consumers();
        consumers.retain(|consumer| consumer.strong_count() > 0);
        consumers.push(Arc::downgrade(&consumer));
        Ok(consumer)
    }

    async fn publisher(&self) -> Result<Arc<dyn Publisher>, Error> {
        Ok(Arc::new(publisher::QueuePublisher::new(&self.server, &self.env)))
    }

    async fn close(&self) {
        let consumers = std::mem::take(&mut *self.consumers());
        consumers.iter().filter_map(Weak::upgrade).for_each(|consumer| consumer.leave());
    }
}

const fn capabilities() -> Capabilities {
    Capabilities {
        kind: MemoryQueues::KIND,
        partitions: false,
        ordered: false,
        settles: Settles::Each,
        attempts: true,
        delay: None,
        extension_max: None,
        dead_letters: false,
        seek: false,
        redelivery_horizon: Some(REDELIVERY_HORIZON),
    }
}

fn unknown_queue(queue: &str) -> Error {
    let what = format!("there is no queue {queue:?}; create it on the memory queues first");
    Error::new(ErrorKind::Broker, what).with_class(Class::Permanent)
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{} {what}", MemoryQueues::KIND))
}
