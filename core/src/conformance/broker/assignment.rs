//! Groups: pausing, handing over, leaving.

use std::time::Duration;

use super::Harness;
use super::member::{Came, Member, texts};
use super::stage::{Stage, committed_becomes, cuts, numbered};
use crate::broker::{Base, Handback, Partition};
use crate::conformance::skipped;
use crate::event::Record;

/// A paused partition delivers nothing, the others go on, and the member stays in its group.
pub async fn pause_stops_only_its_partition<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 2).await;
    let mut member = stage.join("g").await;
    member.hold(if stage.can.partitions { 2 } else { 0 }).await;
    let paused: Option<&[Partition]> = if stage.can.partitions { Some(&[0]) } else { None };
    member.consumer.pause(paused);
    let receipts = stage.publish(keyed(60)).await;
    let open = receipts.iter().filter(|receipt| stage.can.partitions && receipt.partition == Some(1)).count();
    let taken = member.take(open).await;
    assert!(taken.iter().all(|delivery| delivery.place.partition == 1), "the other partition goes on");
    member.finish(taken).await;
    member.hears_nothing("paused").await;
    // Longer than a member may be silent, as when all that was pulled is still being handled.
    harness.env().sleep(harness.idle_limit()).await;
    member.hears_nothing("paused").await;
    assert!(!stage.can.partitions || member.held.len() == 2, "it stayed in its group");
    member.consumer.resume(paused);
    let rest = member.take(60 - open).await;
    assert!(!stage.can.partitions || rest.iter().all(|delivery| delivery.place.partition == 0));

    member.consumer.pause(None);
    stage.publish(keyed(10)).await;
    member.hears_nothing("all is paused").await;
    member.consumer.resume(None);
    member.take(10).await;
}

fn keyed(count: usize) -> Vec<Record> {
    (0..count)
        .map(|number| Record::new(format!("record {number}")).with_key(format!("key {number}")))
        .collect()
}

/// A partition moves to another member only after the handback, or its limit.
pub async fn revoking_waits_for_handback<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 2).await;
    if !stage.can.partitions {
        return skipped("revoking_waits_for_handback", "the broker has no partitions");
    }
    stage.publish(keyed(60)).await;
    let mut first = stage.join("g").await;
    first.hold(2).await;
    let taken = first.take(60).await;
    let last =
        |partition| taken.iter().map(|delivery| delivery.place).rfind(|place| place.partition == partition);

    let mut second = stage.join("g").await;
    let (going, handback) = revoked(&mut first, &mut second).await;
    for _ in 0..3 {
        second.hears_nothing("before the handback").await;
    }
    assert!(second.held.is_empty(), "{:?} moved before the handback", second.held);
    let bases = going.iter().filter_map(|partition| last(*partition));
    let bases: Vec<Base> =
        bases.map(|at| Base { partition: at.partition, epoch: at.epoch, offset: at.offset + 1 }).collect();
    handback.done(bases.clone());
    share(&mut first, &mut second).await;
    for base in bases {
        committed_becomes(&stage, "g", base.partition, base.offset).await;
    }
    second.close().await;
    let deadline = harness.env().now() + harness.patience();
    while first.held.len() < 2 {
        first.pull(100, harness.patience()).await;
        assert!(harness.env().now() < deadline, "both partitions in time, after the other member left");
    }

    // Never answered: the limit ends it.
    let mut third = stage.join("g").await;
    let (_, unanswered) = revoked(&mut first, &mut third).await;
    share(&mut first, &mut third).await;
    drop(unanswered);
    third.hears_lasting().await;
}

impl<H: Harness> Member<'_, H> {
    /// A late answer to a revocation that is over takes nothing away from the new owner.
    async fn hears_lasting(&mut self) {
        let held = self.held.clone();
        let until = self.harness.env().now() + self.harness.quiet();
        while self.harness.env().now() < until {
            self.pull(100, until.since(self.harness.env().now())).await;
        }
        assert_eq!(self.held.keys().collect::<Vec<_>>(), held.keys().collect::<Vec<_>>());
    }
}

/// Both pull until the first one is asked to give something up.
async fn revoked<H: Harness>(
    first: &mut Member<'_, H>,
    second: &mut Member<'_, H>,
) -> (Vec<Partition>, Handback) {
    let env = first.harness.env();
    let deadline = env.now() + first.harness.patience();
    loop {
        if let Came::Revoking(partitions, handback) = first.pull(100, SHORT).await {
            return (partitions, handback);
        }
        second.pull(100, SHORT).await;
        assert!(second.held.is_empty(), "{:?} moved without a revocation", second.held);
        assert!(env.now() < deadline, "a revocation in time after a second member joined");
    }
}

const SHORT: Duration = Duration::from_millis(100);

/// Both pull until each has its share; whatever else is revoked on the way is handed back at once.
async fn share<H: Harness>(first: &mut Member<'_, H>, second: &mut Member<'_, H>) {
    let env = first.harness.env();
    let deadline = env.now() + first.harness.patience();
    while first.held.len() != 1 || second.held.len() != 1 {
        first.pull(100, SHORT).await;
        second.pull(100, SHORT).await;
        let held = (&first.held, &second.held);
        assert!(env.now() < deadline, "one partition each in time; there is {held:?}");
    }
}

/// `close` ends within its limit, also with the broker away, and what was not started goes elsewhere.
pub async fn close_is_bounded<H: Harness>(harness: &H) {
    const LIMIT: Duration = Duration::from_secs(2);
    let stage = Stage::new(harness, 1).await;
    let (env, patience) = (harness.env(), harness.patience());
    stage.publish_texts(numbered(0..4)).await;
    let mut first = stage.join("g").await;
    let taken = first.take(4).await;
    drop(taken);
    // Half of the patience on top: the limit itself is the adapter's to keep, this notices a hang.
    let closed = env.timeout("close", LIMIT + patience / 2, first.consumer.close(LIMIT)).await;
    closed.expect("close ends");
    let pulled = env.timeout("a pull after close", patience, first.consumer.pull(1)).await;
    pulled.expect("a closed consumer answers").expect_err("a closed consumer delivers nothing");
    let mut second = stage.join("g").await;
    let mut again = texts(&second.take(4).await);
    again.sort();
    assert_eq!(again, numbered(0..4).collect::<Vec<_>>(), "given to another member");

    let Some(faults) = cuts(harness, "close_is_bounded with the broker away") else { return };
    faults.cut().await;
    let closed = env.timeout("close", LIMIT + patience / 2, second.consumer.close(LIMIT)).await;
    faults.mend().await;
    closed.expect("close ends, also with the broker away");
    drop(second);
    let mut third = stage.join("g").await;
    assert_eq!(third.take(4).await.len(), 4, "given to another member");
}
