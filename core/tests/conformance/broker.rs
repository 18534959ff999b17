//! The memory broker's harness.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use keylane::Env;
use keylane::broker::{Broker, Partition};
use keylane::conformance::broker::{Faults, Harness};
use keylane::memory::MemoryBroker;

use super::clock::Virtual;

struct MemoryHarness {
    broker: MemoryBroker,
    env: Env,
    sources: AtomicU32,
}

impl MemoryHarness {
    fn new() -> Self {
        Self { broker: MemoryBroker::new(), env: Env::new(Virtual::new()), sources: AtomicU32::new(0) }
    }
}

#[async_trait]
impl Harness for MemoryHarness {
    fn env(&self) -> Env {
        self.env.clone()
    }

    async fn broker(&self) -> Arc<dyn Broker> {
        self.broker.worker(&self.env)
    }

    async fn source(&self, partitions: u32) -> String {
        let name = format!("source-{}", self.sources.fetch_add(1, Ordering::Relaxed));
        self.broker.create(&name, partitions);
        name
    }

    fn too_large(&self) -> Option<usize> {
        Some(17 << 20)
    }

    async fn committed(&self, source: &str, group: &str, partition: Partition) -> Option<Option<u64>> {
        Some(self.broker.committed(source, group, partition))
    }

    fn faults(&self) -> Option<&dyn Faults> {
        Some(self)
    }
}

#[async_trait]
impl Faults for MemoryHarness {
    async fn cut(&self) {
        self.broker.set_away(true);
    }

    async fn mend(&self) {
        self.broker.set_away(false);
    }

    async fn delete(&self, source: &str) -> bool {
        self.broker.delete(source);
        true
    }

    async fn expire(&self, source: &str, partition: Partition, below: u64) -> bool {
        self.broker.expire(source, partition, below);
        true
    }
}

keylane::broker_conformance!(MemoryHarness::new());
