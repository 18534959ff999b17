//! A simulated broker without partitions: shared queues, visibility timeouts, ordered keys.
//!
//! One lock guards it; whatever changes wakes every pull that waits. What it does by chance is drawn from the
//! world, and only while faults are on.

mod consumer;
mod lines;
mod publisher;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::{Broker, BrokerAdapter, Capabilities, Consumer, ConsumerSpec, Publisher, Settles};
use keylane::config::{NoKeys, Section};
use keylane::{Env, Error};
use tokio::sync::Notify;

use crate::event::Event;
use crate::profile::Profile;
use lines::Lines;

/// One server. Clones are handles on the same one.
#[derive(Clone)]
pub struct SimServer(Arc<Shared>);

struct Shared {
    profile: Profile,
    env: Env,
    /// How long a delivery may be unsettled; none: as long as its connection.
    visible_after: Option<Duration>,
    faults: ServerFaults,
    calm: AtomicBool,
    lines: Mutex<Lines>,
    changed: Notify,
}

/// What the server does at random, in thousandths of its hand-overs.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerFaults {
    /// A connection ends.
    pub cut: u64,
    /// What is unsettled comes again, though its worker is at it.
    pub again: u64,
    /// What was settled comes again.
    pub again_settled: u64,
}

impl SimServer {
    /// A server of a profile, on a clock of its own.
    #[must_use]
    pub fn new(profile: Profile, env: Env, visible_after: Option<Duration>, faults: ServerFaults) -> Self {
        Self(Arc::new(Shared {
            profile,
            env,
            visible_after,
            faults,
            calm: AtomicBool::new(false),
            lines: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// From now on nothing goes wrong by chance.
    pub fn calm(&self) {
        self.0.calm.store(true, Ordering::SeqCst);
    }

    /// The connection of a worker's consumers ends: what they had is handed out again.
    pub fn cut(&self, worker: usize) {
        let profile = self.0.profile;
        self.change(|lines| lines.disconnect(profile, worker));
    }

    /// What was published and is not settled.
    #[must_use]
    pub fn unsettled(&self) -> Vec<Event> {
        self.lines().unsettled()
    }

    /// A connection for the worker of this number.
    #[must_use]
    pub fn adapter(&self, worker: usize) -> SimAdapter {
        SimAdapter { server: self.clone(), worker }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Lines) -> T) -> T {
        let changed = change(&mut self.lines());
        self.0.changed.notify_waiters();
        changed
    }

    fn hits(&self, thousandths: u64) -> bool {
        thousandths > 0 && !self.0.calm.load(Ordering::SeqCst) && self.0.env.random() % 1000 < thousandths
    }

    fn below(&self, bound: usize) -> usize {
        usize::try_from(self.0.env.random() % (bound.max(1) as u64)).unwrap_or(0)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: SimAdapter::KIND,
            partitions: false,
            ordered: self.0.profile.is_ordered(),
            settles: Settles::Each,
            attempts: true,
            delay: None,
            extension_max: self.0.visible_after.map(|time| time * 100),
            dead_letters: false,
            seek: false,
            redelivery_horizon: Some(Duration::from_secs(1800)),
        }
    }
}

/// What a worker's runtime takes.
#[derive(Clone)]
pub struct SimAdapter {
    server: SimServer,
    worker: usize,
}

impl BrokerAdapter for SimAdapter {
    const KIND: &'static str = "sim";
    type Config = NoKeys;
    type Subscription = NoKeys;

    async fn connect(&self, _config: NoKeys, _env: &Env) -> Result<Arc<dyn Broker>, Error> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Broker for SimAdapter {
    fn capabilities(&self, _of: &Section) -> Result<Capabilities, Error> {
        Ok(self.server.capabilities())
    }

    async fn consumer(&self, spec: ConsumerSpec) -> Result<Arc<dyn Consumer>, Error> {
        Ok(Arc::new(consumer::SimConsumer::join(&self.server, self.worker, spec.unsettled_max)))
    }

    async fn publisher(&self) -> Result<Arc<dyn Publisher>, Error> {
        Ok(Arc::new(publisher::SimPublisher(self.server.clone())))
    }

    async fn close(&self) {
        let profile = self.server.0.profile;
        self.server.change(|lines| lines.disconnect(profile, self.worker));
    }
}
