//! A file, logs over it as if each were a process of its own, and patient pulling.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keylane::broker::{
    Broker, Change, Consumer, ConsumerSpec, Handback, Outgoing, Partition, Pulled, Receipt, Reset, Start,
};
use keylane::delivery::Delivery;
use keylane::event::Record;
use keylane::{Env, Error};
use keylane_log::{LogBroker, LogConfig};
use keylane_sqlite::Database;
use tempfile::TempDir;

/// Only a failing test waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct File {
    folder: TempDir,
    pub(crate) env: Env,
}

impl File {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), env: Env::tokio() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("log.db")
    }

    /// A log as another process would open it.
    pub(crate) async fn open(&self, config: LogConfig) -> LogBroker {
        self.open_in(&self.env, config).await
    }

    pub(crate) async fn open_in(&self, env: &Env, config: LogConfig) -> LogBroker {
        let database = Database::open_apart(self.path(), env).await.unwrap();
        LogBroker::over(database, config, env).await.unwrap()
    }
}

/// The defaults with so many partitions, and a life quick enough for tests of the dead.
pub(crate) fn config(partitions: u32) -> LogConfig {
    LogConfig { partitions, ..LogConfig::default() }
}

pub(crate) fn some(partitions: u32) -> NonZeroU32 {
    NonZeroU32::new(partitions).unwrap()
}

pub(crate) fn spec(source: &str, group: &str) -> ConsumerSpec {
    ConsumerSpec {
        subscription: "test".into(),
        source: source.into(),
        group: group.into(),
        reset: Reset::Earliest,
        unsettled_max: 1024,
        prefetch_bytes_max: 1024 * 1024,
        settings: keylane::config::Section::default(),
    }
}

pub(crate) fn to(stream: &str, key: &str, payload: impl ToString) -> Outgoing {
    let record = Record::new(payload.to_string()).with_key(key.to_owned());
    Outgoing { target: stream.to_owned(), record }
}

pub(crate) async fn publish(log: &LogBroker, batch: Vec<Outgoing>) -> Vec<Result<Receipt, Error>> {
    log.publisher().await.unwrap().publish(batch).await
}

pub(crate) async fn publish_all(log: &LogBroker, batch: Vec<Outgoing>) -> Vec<(Partition, u64)> {
    let place = |receipt: Result<Receipt, Error>| {
        let receipt = receipt.unwrap();
        (receipt.partition.unwrap(), receipt.offset.unwrap())
    };
    publish(log, batch).await.into_iter().map(place).collect()
}

pub(crate) async fn pull(consumer: &Arc<dyn Consumer>, credits: usize) -> Result<Pulled, Error> {
    Env::tokio().timeout("a pull", PATIENCE, consumer.pull(credits)).await.unwrap()
}

/// The next change; deliveries are not expected before it.
pub(crate) async fn change(consumer: &Arc<dyn Consumer>) -> Change {
    match pull(consumer, 1).await.unwrap() {
        Pulled::Change(change) => change,
        Pulled::Deliveries(deliveries) => panic!("deliveries before a change: {deliveries:?}"),
    }
}

pub(crate) async fn assigned(consumer: &Arc<dyn Consumer>) -> Vec<Partition> {
    match change(consumer).await {
        Change::Assigned(partitions) => partitions,
        other => panic!("{other:?} in place of an assignment"),
    }
}

pub(crate) async fn revoking(consumer: &Arc<dyn Consumer>) -> (Vec<Partition>, Handback) {
    match change(consumer).await {
        Change::Revoking { partitions, handback } => (partitions, handback),
        other => panic!("{other:?} in place of a revocation"),
    }
}

pub(crate) async fn lost(consumer: &Arc<dyn Consumer>) -> Vec<Partition> {
    match change(consumer).await {
        Change::Lost(partitions) => partitions,
        other => panic!("{other:?} in place of a loss"),
    }
}

pub(crate) fn broken(change: Change) -> Error {
    match change {
        Change::Broken { partition: 0, epoch: 1, error } => error,
        other => panic!("{other:?} in place of a break"),
    }
}

/// Joins, is assigned all partitions, and starts them at the group's origin under epoch 1.
pub(crate) async fn reader(log: &LogBroker, spec: ConsumerSpec) -> Arc<dyn Consumer> {
    let consumer = log.consumer(spec).await.unwrap();
    let mut starts = Vec::new();
    for partition in assigned(&consumer).await {
        let offset = consumer.origin(partition).await.unwrap();
        starts.push(Start { partition, offset, epoch: 1 });
    }
    consumer.start(starts).await.unwrap();
    consumer
}

/// Exactly so many deliveries, in pulls of at most `credits`.
pub(crate) async fn take(consumer: &Arc<dyn Consumer>, count: usize, credits: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let credits = credits.min(count - taken.len());
        match pull(consumer, credits).await.unwrap() {
            Pulled::Deliveries(deliveries) => {
                assert!(deliveries.len() <= credits, "{} for {credits} credits", deliveries.len());
                taken.extend(deliveries);
            }
            Pulled::Change(change) => panic!("{change:?} in place of deliveries"),
        }
    }
    taken
}

pub(crate) fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.record.payload.to_vec()).unwrap()
}

/// True when a pull is still waiting after everything that is ready has run.
pub(crate) async fn nothing_to_pull(consumer: &Arc<dyn Consumer>) -> bool {
    tokio::time::timeout(Duration::from_millis(150), consumer.pull(100)).await.is_err()
}
