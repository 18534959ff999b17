//! The broker's contract, each worker with a database of its own on one file, as another process has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use keylane::Env;
use keylane::broker::{Broker, Partition};
use keylane::config::{Period, Size};
use keylane::conformance::broker::{Faults, Harness};
use keylane_log::{LogBroker, LogConfig};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};
use tokio::sync::Mutex;

use crate::fixture::*;

struct OneFile {
    file: File,
    /// Looks at the file beside the workers.
    beside: LogBroker,
    sources: AtomicU32,
    /// Holds the file's write lock during a cut, as a process does that hangs in a transaction.
    lock: Mutex<Option<SqliteConnection>>,
}

impl OneFile {
    async fn new() -> Self {
        let file = File::new();
        let beside = file.open(Self::config()).await;
        Self { file, beside, sources: AtomicU32::new(0), lock: Mutex::new(None) }
    }

    fn config() -> LogConfig {
        LogConfig {
            create_streams: false,
            record_max: Size::kib(64),
            member_expiry: Period::secs(3),
            // Longer than the checks listen before they hand back.
            handback_max: Period::secs(3),
            ..LogConfig::default()
        }
    }
}

#[async_trait]
impl Harness for OneFile {
    fn env(&self) -> Env {
        self.file.env.clone()
    }

    async fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(self.file.open(Self::config()).await)
    }

    async fn source(&self, partitions: u32) -> String {
        let name = format!("source-{}", self.sources.fetch_add(1, Ordering::Relaxed));
        self.beside.create_stream(&name, some(partitions)).await.unwrap();
        name
    }

    fn quiet(&self) -> Duration {
        Duration::from_millis(300)
    }

    fn idle_limit(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn too_large(&self) -> Option<usize> {
        Some(65 << 10)
    }

    async fn committed(&self, source: &str, group: &str, partition: Partition) -> Option<Option<u64>> {
        let positions = self.beside.group_positions(source, group).await.unwrap();
        Some(positions.into_iter().find(|(at, _)| *at == partition).map(|(_, offset)| offset))
    }

    fn faults(&self) -> Option<&dyn Faults> {
        Some(self)
    }
}

#[async_trait]
impl Faults for OneFile {
    async fn cut(&self) {
        let mut connection =
            SqliteConnection::connect(&self.file.path().display().to_string()).await.unwrap();
        connection.execute("BEGIN IMMEDIATE").await.unwrap();
        *self.lock.lock().await = Some(connection);
    }

    async fn mend(&self) {
        if let Some(connection) = self.lock.lock().await.take() {
            connection.close().await.unwrap();
        }
    }

    async fn delete(&self, source: &str) -> bool {
        self.beside.delete_stream(source).await.unwrap()
    }

    async fn expire(&self, source: &str, partition: Partition, below: u64) -> bool {
        let mut connection =
            SqliteConnection::connect(&self.file.path().display().to_string()).await.unwrap();
        for statement in [
            "DELETE FROM keylane_log_chunks WHERE partition = ?2 AND first < ?3
             AND stream = (SELECT id FROM keylane_log_streams WHERE name = ?1)",
            "UPDATE keylane_log_partitions SET low = ?3 WHERE partition = ?2
             AND stream = (SELECT id FROM keylane_log_streams WHERE name = ?1)",
        ] {
            let query = sqlx::query(statement).bind(source).bind(partition).bind(below.cast_signed());
            query.execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
        true
    }
}

keylane::broker_conformance!(OneFile::new().await);
