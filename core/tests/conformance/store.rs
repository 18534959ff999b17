//! The memory store's harness.

use std::sync::Arc;

use async_trait::async_trait;
use keylane::conformance::store::Harness;
use keylane::memory::Memory;
use keylane::store::{Store, Tx};
use keylane::{Env, Failure};

use super::clock::Virtual;

struct MemoryHarness {
    memory: Memory,
    env: Env,
}

impl MemoryHarness {
    fn new() -> Self {
        Self { memory: Memory::new(), env: Env::new(Virtual::new()) }
    }
}

#[async_trait]
impl Harness for MemoryHarness {
    type Adapter = Memory;

    fn env(&self) -> Env {
        self.env.clone()
    }

    async fn open(&self) -> Arc<dyn Store> {
        self.memory.worker(&self.env)
    }

    async fn insert(tx: &mut Tx<Memory>, name: &str, text: &str) -> Result<(), Failure> {
        tx.append(name, text.to_owned());
        Ok(())
    }

    async fn refuse_at_commit(tx: &mut Tx<Memory>) -> Result<(), Failure> {
        tx.refuse_at_commit("a deferred constraint");
        Ok(())
    }

    async fn rows(&self, name: &str) -> Vec<String> {
        let rows = self.memory.rows(name).await;
        rows.iter().map(|row| String::from_utf8_lossy(row).into_owned()).collect()
    }
}

keylane::store_conformance!(MemoryHarness::new());
