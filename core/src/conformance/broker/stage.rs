//! What the checks play on: a source with records, and members of groups over it.

use std::sync::Arc;

use super::member::Member;
use super::{Faults, Harness};
use crate::broker::{Broker, Capabilities, ConsumerSpec, Outgoing, Partition, Publisher, Receipt, Reset};
use crate::conformance::{patience, skipped};
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
        let spec = harness.spec(&source, "g", Reset::Earliest);
        let can = broker.capabilities(&spec.settings).expect("a table of its own");
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
        self.join_as(self.harness.spec(&self.source, group, reset)).await
    }

    pub(super) async fn join_as(&self, spec: ConsumerSpec) -> Member<'h, H> {
        let broker = self.harness.broker().await;
        let consumer = broker.consumer(spec).await.expect("a consumer is made");
        Member::new(self.harness, broker, consumer)
    }

    /// How far the broker believes that the group is; says so when the harness can't tell.
    pub(super) async fn committed(&self, group: &str, partition: Partition) -> Option<Option<u64>> {
        let committed = self.harness.committed(&self.source, group, partition).await;
        if committed.is_none() {
            skipped("what the broker has committed", "the harness can't read it");
        }
        committed
    }
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

/// The faults of a harness that can cut the broker off; says what is not checked where there is none.
pub(super) fn cuts<'h, H: Harness>(harness: &'h H, check: &str) -> Option<&'h dyn Faults> {
    let faults = harness.faults().filter(|faults| faults.can_cut());
    if faults.is_none() {
        skipped(check, "the harness can't cut the broker off");
    }
    faults
}
