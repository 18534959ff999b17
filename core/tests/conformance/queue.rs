//! The harness of the memory queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use keylane::Env;
use keylane::broker::Broker;
use keylane::conformance::broker::{Faults, Harness};
use keylane::memory::MemoryQueues;

use super::clock::Virtual;

struct QueueHarness {
    server: MemoryQueues,
    env: Env,
    sources: AtomicU32,
}

impl QueueHarness {
    fn new() -> Self {
        Self { server: MemoryQueues::new(), env: Env::new(Virtual::new()), sources: AtomicU32::new(0) }
    }
}

#[async_trait]
impl Harness for QueueHarness {
    fn env(&self) -> Env {
        self.env.clone()
    }

    async fn broker(&self) -> Arc<dyn Broker> {
        self.server.worker(&self.env)
    }

    async fn source(&self, _partitions: u32) -> String {
        let name = format!("queue-{}", self.sources.fetch_add(1, Ordering::Relaxed));
        self.server.create(&name);
        name
    }

    fn too_large(&self) -> Option<usize> {
        Some(17 << 20)
    }

    fn faults(&self) -> Option<&dyn Faults> {
        Some(self)
    }
}

#[async_trait]
impl Faults for QueueHarness {
    async fn cut(&self) {
        self.server.set_away(true);
    }

    async fn mend(&self) {
        self.server.set_away(false);
    }

    async fn delete(&self, source: &str) -> bool {
        self.server.delete(source);
        true
    }
}

keylane::broker_conformance!(QueueHarness::new());
