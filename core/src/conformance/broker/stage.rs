//! What the checks play on: a source with records, and members that answer what comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Harness;
use crate::broker::{
    Base, Broker, Capabilities, Change, Consumer, Handback, Outgoing, Partition, Publisher, Pulled, Receipt,
    Reset, Settles, Start,
};
use crate::conformance::patience;
use crate::delivery::{Delivery, Settlement};
use crate::error::Error;
use crate::event::Record;

/// A source, and a worker's connection to write to it and to look at it.
pub(super) struct Stage<'h, H> {
    pub(super) harness: &'h H,
    pub(super) broker: Arc<dyn Broker>,
    publisher: Arc<dyn Publisher>,
    pub(super) source: String,
    pub(super) can: Capabilities,
}

impl<'h, H: Harness> Stage<'h, H> {
    pub(super) async fn new(harness: &'h H, partitions: u32) -> Self {
        let source = harness.source(partitions).await;
        let broker = harness.broker().await;
        let publisher = broker.publisher().await.expect("a publisher is made");
        let can = broker.capabilities();
        Self { harness, broker, publisher, source, can }
    }

    /// Publishes, and expects that all of it is taken.
    pub(super) async fn publish(&self, records: Vec<Record>) -> Vec<Receipt> {
        self.try_publish(records).await.into_iter().map(|result| result.expect("a record is taken")).collect()
    }

    pub(super) async fn try_publish(&self, records: Vec<Record>) -> Vec<Result<Receipt, Error>> {
        let target = |record| Outgoing { target: self.source.clone(), record };
        self.publisher.publish(records.into_iter().map(target).collect()).await
    }

    /// Publishes one by one until each is confirmed, as after a fault; a record may lie there twice.
    pub(super) async fn publish_again(&self, texts: impl IntoIterator<Item = String>) {
        let (env, limit) = (self.harness.env(), self.harness.patience());
        for text in texts {
            patience::until(&env, "a record is taken", limit, async || {
                let record = Record::new(text.clone()).with_key("one");
                let result = self.try_publish(vec![record]).await.pop().expect("a result for each record");
                assert!(result.as_ref().err().is_none_or(Error::is_transient), "{result:?}");
                result.ok()
            })
            .await;
        }
    }

    /// Records with these payloads and no key, in order.
    pub(super) async fn publish_texts(&self, texts: impl IntoIterator<Item = String>) -> Vec<Receipt> {
        self.publish(texts.into_iter().map(|text| Record::new(text).with_key("one")).collect()).await
    }

    pub(super) async fn join(&self, group: &str) -> Member<'h, H> {
        self.join_at(group, Reset::Earliest).await
    }

    /// Joins on a connection of its own, as another process would.
    pub(super) async fn join_at(&self, group: &str, reset: Reset) -> Member<'h, H> {
        let broker = self.harness.broker().await;
        let spec = self.harness.spec(&self.source, group, reset);
        let consumer = broker.consumer(spec).await.expect("a consumer is made");
        let (harness, can) = (self.harness, self.can.clone());
        Member {
            harness,
            can,
            consumer,
            _broker: broker,
            held: BTreeMap::new(),
            started: BTreeMap::new(),
            auto: true,
        }
    }

    /// How far the broker believes that the group is; says so when the harness can't tell.
    pub(super) async fn committed(&self, group: &str, partition: Partition) -> Option<Option<u64>> {
        let committed = self.harness.committed(&self.source, group, partition).await;
        if committed.is_none() {
            crate::conformance::skipped("what the broker has committed", "the harness can't read it");
        }
        committed
    }
}

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
}

/// What came by a pull, revocations apart.
#[derive(Debug)]
pub(super) enum Came {
    Deliveries(Vec<Delivery>),
    Change,
    Revoking(Vec<Partition>, Handback),
    /// Nothing within the time, or a fault that may pass.
    Nothing,
}

impl<H: Harness> Member<'_, H> {
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
        for place in deliveries.iter().map(|delivery| delivery.place).filter(|_| self.can.partitions) {
            let epoch = self.held.get(&place.partition).copied();
            assert!(epoch.is_some_and(|epoch| epoch > 0), "{place:?} was delivered and not started");
            assert_eq!(epoch, Some(place.epoch), "the epoch that start gave");
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
}

/// The payload, which tells the records of a check apart.
pub(super) fn text(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.record.payload).into_owned()
}

pub(super) fn texts(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(text).collect()
}

/// `n` texts that tell their number.
pub(super) fn numbered(range: std::ops::Range<usize>) -> impl Iterator<Item = String> + Clone {
    range.map(|number| format!("record {number}"))
}

/// Waits for what the broker believes.
pub(super) async fn committed_becomes<H: Harness>(
    stage: &Stage<'_, H>,
    group: &str,
    partition: Partition,
    offset: u64,
) {
    if stage.committed(group, partition).await.is_none() {
        return;
    }
    let (env, limit) = (stage.harness.env(), stage.harness.patience());
    patience::until(&env, "the committed base", limit, async || {
        let committed = stage.committed(group, partition).await.flatten();
        (committed == Some(offset)).then_some(())
    })
    .await;
}
