//! The broker's contract: workers with a database handle of their own each, as processes have, on one file.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use keylane::Env;
use keylane::broker::{Broker, Partition};
use keylane::conformance::broker::{Faults, Harness};
use keylane_log::LogConfig;

use crate::fixture::File;

/// As a service that names its streams: one that is not there is a mistake.
fn strict() -> LogConfig {
    LogConfig { create_streams: false, ..LogConfig::default() }
}

struct OneFile {
    file: File,
    sources: AtomicU32,
}

#[async_trait]
impl Harness for OneFile {
    fn env(&self) -> Env {
        self.file.env.clone()
    }

    async fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(self.file.open(strict()).await)
    }

    async fn source(&self, partitions: u32) -> String {
        let name = format!("source-{}", self.sources.fetch_add(1, Ordering::Relaxed));
        let partitions = NonZeroU32::new(partitions).unwrap();
        self.file.open(strict()).await.create_stream(&name, partitions).await.unwrap();
        name
    }

    fn too_large(&self) -> Option<usize> {
        Some(64 << 20)
    }

    async fn committed(&self, source: &str, group: &str, partition: Partition) -> Option<Option<u64>> {
        let log = self.file.open(strict()).await;
        let positions = log.group_positions(source, group).await.unwrap();
        Some(positions.into_iter().find(|(at, _)| *at == partition).map(|(_, offset)| offset))
    }

    fn faults(&self) -> Option<&dyn Faults> {
        Some(self)
    }
}

#[async_trait]
impl Faults for OneFile {
    fn can_cut(&self) -> bool {
        // It lies in a file: where the file is gone, so is the service's own database.
        false
    }

    async fn cut(&self) {}

    async fn mend(&self) {}

    async fn delete(&self, source: &str) -> bool {
        self.file.open(strict()).await.delete_stream(source).await.unwrap()
    }
}

keylane::broker_conformance!(OneFile { file: File::new(), sources: AtomicU32::new(0) });
