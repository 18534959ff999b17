//! A consumer as the checks play it: it starts, takes, settles and hands back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Harness;
use crate::broker::{
    Base, Broker, Capabilities, Change, Consumer, Handback, Partition, Pulled, Settles, Start,
};
use crate::delivery::{Delivery, Settlement};
use crate::error::Error;

/// A consumer with what it knows of its partitions. It starts what it is assigned and hands back what is
/// revoked, unless a check does so itself.
pub(super) struct Member<'h, H> {
    pub(super) harness: &'h H,
    pub(super) can: Capabilities,
    pub(super) consumer: Arc<dyn Consumer>,
    _broker: Arc<dyn Broker>,
    /// What it was assigned and not revoked, with the epoch it started it under; 0 before the start.
    pub(super) held: BTreeMap<Partition, u64>,
    /// Where a started partition goes on: the next offset after what was taken.
    pub(super) started: BTreeMap<Partition, u64>,
    /// Start what is assigned at its origin.
    pub(super) auto: bool,
    /// Without partitions: the least epoch of what comes now.
    epoch: u64,
}

/// What came by a pull, revocations apart.
#[derive(Debug)]
pub(super) enum Came {
    Deliveries(Vec<Delivery>),
    Change,
    Revoking(Vec<Partition>, Handback),
    /// The partition, the epoch under which it was read, and why.
    Broken(Partition, u64, Error),
    /// What was delivered under lower epochs than this is void.
    Void(u64),
    /// Nothing within the time, or a fault that may pass.
    Nothing,
}

impl<'h, H: Harness> Member<'h, H> {
    pub(super) fn new(harness: &'h H, broker: Arc<dyn Broker>, consumer: Arc<dyn Consumer>) -> Self {
        let (held, started, can) = (BTreeMap::new(), BTreeMap::new(), consumer.capabilities());
        Self { harness, can, consumer, _broker: broker, held, started, auto: true, epoch: 0 }
    }

    /// One pull, cancelled after `limit`.
    pub(super) async fn pull(&mut self, credits: usize, limit: Duration) -> Came {
        let pulled = self.harness.env().timeout("a pull", limit, self.consumer.pull(credits)).await;
        match pulled {
            Err(_) => Came::Nothing,
            Ok(Err(error)) if error.is_transient() => {
                self.harness.env().sleep(Duration::from_millis(50)).await;
                Came::Nothing
            }
            Ok(Err(error)) => panic!("a pull failed for good: {error:?}"),
            Ok(Ok(Pulled::Deliveries(deliveries))) => {
                self.note(&deliveries);
                Came::Deliveries(deliveries)
            }
            Ok(Ok(Pulled::Change(change))) => self.change(change).await,
        }
    }

    fn note(&mut self, deliveries: &[Delivery]) {
        for place in deliveries.iter().map(|delivery| delivery.place) {
            if self.can.partitions {
                let epoch = self.held.get(&place.partition).copied();
                assert!(epoch.is_some_and(|epoch| epoch > 0), "{place:?} was delivered and not started");
                assert_eq!(epoch, Some(place.epoch), "the epoch that start gave");
            } else {
                assert_eq!(place.partition, 0, "where everything of a broker without partitions lies");
                assert!(self.epoch == 0 || self.epoch == place.epoch, "{place:?} under epoch {}", self.epoch);
                self.epoch = place.epoch;
            }
            let next = self.started.insert(place.partition, place.offset + 1);
            assert!(next.is_none_or(|next| next <= place.offset), "{place:?} after offset {next:?}");
        }
    }

    async fn change(&mut self, change: Change) -> Came {
        match change {
            Change::Assigned(partitions) => {
                for partition in partitions {
                    self.held.entry(partition).or_insert(0);
                    if self.auto {
                        let origin =
                            self.consumer.origin(partition).await.expect("a partition has an origin");
                        self.start(partition, origin, 1).await;
                    }
                }
                Came::Change
            }
            Change::Lost(partitions) => {
                self.drop_partitions(&partitions);
                Came::Change
            }
            Change::Revoking { partitions, handback } => {
                self.drop_partitions(&partitions);
                Came::Revoking(partitions, handback)
            }
            Change::Broken { partition, epoch, error } => Came::Broken(partition, epoch, error),
            Change::Void { epoch } => {
                assert!(!self.can.partitions, "a broker with partitions says what it lost");
                assert!(epoch > self.epoch, "epoch {epoch} begins after {}", self.epoch);
                self.epoch = epoch;
                Came::Void(epoch)
            }
        }
    }

    fn drop_partitions(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            self.held.remove(partition);
            self.started.remove(partition);
        }
    }

    pub(super) async fn start(&mut self, partition: Partition, offset: u64, epoch: u64) {
        self.held.insert(partition, epoch);
        self.started.remove(&partition);
        self.consumer.start(vec![Start { partition, offset, epoch }]).await.expect("a start is taken");
    }

    /// Pulls until so many deliveries came; revocations are handed back at once.
    pub(super) async fn take(&mut self, wanted: usize) -> Vec<Delivery> {
        let mut taken = Vec::new();
        let deadline = self.harness.env().now() + self.harness.patience();
        while taken.len() < wanted {
            let came = self.pull(wanted - taken.len(), self.harness.patience()).await;
            if let Came::Deliveries(deliveries) = came {
                taken.extend(deliveries);
            }
            let texts = || taken.iter().map(text).collect::<Vec<_>>();
            assert!(
                self.harness.env().now() < deadline,
                "{wanted} deliveries in time; there are {:?}",
                texts()
            );
        }
        taken
    }

    /// Pulls with many more credits than deliveries are wanted, and gets exactly those.
    pub(super) async fn take_greedily(&mut self, wanted: usize) -> Vec<Delivery> {
        let mut taken = Vec::new();
        let deadline = self.harness.env().now() + self.harness.patience();
        while taken.len() < wanted {
            if let Came::Deliveries(deliveries) = self.pull(1000, self.harness.patience()).await {
                taken.extend(deliveries);
            }
            assert!(self.harness.env().now() < deadline, "{wanted} deliveries in time; {} came", taken.len());
        }
        assert_eq!(taken.len(), wanted, "{:?}", texts(&taken));
        taken
    }

    /// Pulls until it holds so many partitions, whoever starts them.
    pub(super) async fn hold(&mut self, partitions: usize) {
        let deadline = self.harness.env().now() + self.harness.patience();
        while self.can.partitions && self.held.len() < partitions {
            let came = self.pull(1, self.harness.patience()).await;
            assert!(!matches!(came, Came::Deliveries(_)), "{came:?} before a start");
            assert!(self.harness.env().now() < deadline, "{partitions} partitions in time");
        }
    }

    /// Listens for a while; whatever is delivered is a breach of `what`.
    pub(super) async fn hears_nothing(&mut self, what: &str) {
        let env = self.harness.env();
        let until = env.now() + self.harness.quiet();
        while env.now() < until {
            let came = self.pull(100, until.since(env.now())).await;
            if let Came::Deliveries(deliveries) = came {
                panic!("{what}: {:?} came", deliveries.iter().map(text).collect::<Vec<_>>());
            }
        }
    }

    /// Tells the broker that these are done, as it wants to be told.
    pub(super) async fn finish(&mut self, deliveries: Vec<Delivery>) {
        if self.can.settles == Settles::Position {
            let mut bases = BTreeMap::new();
            for place in deliveries.iter().map(|delivery| delivery.place) {
                let base = Base { partition: place.partition, epoch: place.epoch, offset: place.offset + 1 };
                bases.insert(place.partition, base);
            }
            self.consumer.commit(bases.into_values().collect()).await.expect("a base is taken");
        }
        let settled = deliveries.into_iter().map(|delivery| delivery.settle(Settlement::Ack)).collect();
        let unknown = self.consumer.settle(settled).await.expect("a settlement is taken");
        assert_eq!(unknown, [0; 0], "deliveries that the broker forgot");
    }

    pub(super) async fn close(self) {
        let limit = self.harness.patience();
        self.consumer.close(limit).await;
    }

    /// Numbered texts as they came, where the broker keeps an order; else by number, so that each is there once.
    pub(super) fn by_publication(&self, mut texts: Vec<String>) -> Vec<String> {
        if !self.can.ordered {
            texts.sort_by_key(|text| text.rsplit(' ').next().and_then(|number| number.parse::<usize>().ok()));
        }
        texts
    }
}

/// The payload, which tells the records of a check apart.
pub(super) fn text(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.record.payload).into_owned()
}

pub(super) fn texts(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(text).collect()
}
