//! A runtime in small: a consumer, the partitions it was given, and what it has read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keylane::Error;
use keylane::broker::{Change, Consumer, Handback, Partition, Pulled, Start};
use keylane::delivery::Delivery;
use tokio::time::timeout;

use crate::cluster::PATIENCE;

/// Long enough for something wrong to show; nothing right waits for it.
pub(crate) const A_WHILE: Duration = Duration::from_millis(700);

pub(crate) struct Member {
    pub(crate) consumer: Arc<dyn Consumer>,
    pub(crate) epoch: u64,
}

impl Member {
    pub(crate) fn new(consumer: Arc<dyn Consumer>, epoch: u64) -> Self {
        Self { consumer, epoch }
    }

    pub(crate) async fn pull(&self, credits: usize) -> Result<Pulled, Error> {
        timeout(PATIENCE, self.consumer.pull(credits)).await.expect("nothing was pulled")
    }

    /// What comes next, if anything comes.
    pub(crate) async fn soon(&self, credits: usize) -> Option<Pulled> {
        timeout(A_WHILE, self.consumer.pull(credits)).await.ok().map(Result::unwrap)
    }

    /// Waits for an assignment.
    pub(crate) async fn assigned(&self) -> Vec<Partition> {
        match self.pull(0).await.unwrap() {
            Pulled::Change(Change::Assigned(mut partitions)) => {
                partitions.sort_unstable();
                partitions
            }
            other => panic!("not an assignment: {other:?}"),
        }
    }

    /// Waits until so many partitions were assigned in all.
    pub(crate) async fn assigned_in_all(&self, count: usize) -> Vec<Partition> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(self.assigned().await);
        }
        all.sort_unstable();
        all
    }

    pub(crate) async fn revoking(&self) -> (Vec<Partition>, Handback) {
        match self.pull(0).await.unwrap() {
            Pulled::Change(Change::Revoking { mut partitions, handback }) => {
                partitions.sort_unstable();
                (partitions, handback)
            }
            other => panic!("not a revocation: {other:?}"),
        }
    }

    pub(crate) async fn start(&self, partitions: &[Partition], offset: u64) {
        let epoch = self.epoch;
        let starts =
            partitions.iter().map(|partition| Start { partition: *partition, offset, epoch }).collect();
        self.consumer.start(starts).await.unwrap();
    }

    /// Reads so many deliveries, a few at a time.
    pub(crate) async fn read(&self, count: usize) -> Vec<Delivery> {
        let mut all = Vec::new();
        while all.len() < count {
            let credits = (count - all.len()).min(100);
            match self.pull(credits).await.unwrap() {
                Pulled::Deliveries(some) => {
                    assert!(some.len() <= credits, "{} for {credits} credits", some.len());
                    all.extend(some);
                }
                Pulled::Change(change) => panic!("not a delivery: {change:?}"),
            }
        }
        all
    }
}

/// The payloads by partition, in the order in which they came.
pub(crate) fn by_partition(deliveries: &[Delivery]) -> BTreeMap<Partition, Vec<String>> {
    let mut all: BTreeMap<Partition, Vec<String>> = BTreeMap::new();
    for delivery in deliveries {
        let payload = String::from_utf8(delivery.record.payload.to_vec()).unwrap();
        all.entry(delivery.place.partition).or_default().push(payload);
    }
    all
}

pub(crate) fn offsets(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.place.offset).collect()
}
