//! Where reading begins, and what the log holds (rule L2). Only brokers with partitions show these.

use std::time::Duration;

use super::Harness;
use super::member::{Came, texts};
use super::stage::{Stage, numbered};
use crate::broker::{Reset, Start};
use crate::conformance::skipped;
use crate::delivery::Delivery;
use crate::env::Timestamp;
use crate::error::ErrorKind;
use crate::event::Record;

const NO_PARTITIONS: &str = "the broker has no partitions";

/// Nothing of a partition is delivered before `start`, and every delivery bears its epoch.
pub async fn nothing_before_start<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 1).await;
    if !stage.can.partitions {
        return skipped("nothing_before_start", NO_PARTITIONS);
    }
    stage.publish_texts(numbered(0..5)).await;
    let mut member = stage.join("g").await;
    member.auto = false;
    member.hold(1).await;
    member.hears_nothing("before the start").await;
    member.start(0, 0, 7).await;
    // The member itself asserts the epoch of each delivery.
    let taken = member.take(2).await;
    assert!(taken.iter().all(|delivery| delivery.place.epoch == 7));
    member.start(0, 2, 9).await;
    let taken = member.take(3).await;
    assert_eq!(texts(&taken), numbered(2..5).collect::<Vec<_>>());
    assert!(
        taken.iter().all(|delivery| delivery.place.epoch == 9),
        "an older epoch's delivery after a new start"
    );
}

/// Whoever starts late, under a claim that is over, takes nothing away from the present one.
pub async fn stale_start_is_harmless<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 1).await;
    if !stage.can.partitions {
        return skipped("stale_start_is_harmless", NO_PARTITIONS);
    }
    let receipts = stage.publish_texts(numbered(0..6)).await;
    let at = |number: usize| receipts[number].offset.unwrap_or(number as u64);
    let mut member = stage.join("g").await;
    member.auto = false;
    member.hold(1).await;
    member.start(0, at(2), 9).await;
    let mut taken = member.take(2).await;
    let stale = Start { partition: 0, offset: at(0), epoch: 7 };
    member.consumer.start(vec![stale]).await.expect("a start that comes late is passed over");
    // The member itself asserts epoch and order of each delivery.
    taken.extend(member.take(2).await);
    assert_eq!(texts(&taken), numbered(2..6).collect::<Vec<_>>());
}

/// What can't be read of one partition stops that one alone, and a new start reads it again.
pub async fn broken_partition_stops_alone<H: Harness>(harness: &H) {
    const CHECK: &str = "broken_partition_stops_alone";
    let stage = Stage::new(harness, 2).await;
    let Some(faults) = harness.faults().filter(|_| stage.can.partitions) else {
        return skipped(CHECK, "no partitions, or none that can be broken");
    };
    let mut receipts = Vec::new();
    for record in keys(20) {
        receipts.extend(stage.publish(vec![record]).await);
    }
    let of = |partition| {
        let there = receipts.iter().filter(|receipt| receipt.partition == Some(partition));
        there.filter_map(|receipt| receipt.offset).collect::<Vec<u64>>()
    };
    let (overtaken, whole) = (of(0), of(1));
    if !faults.expire(&stage.source, 0, overtaken[2]).await {
        return skipped(CHECK, "the harness can't let records expire");
    }
    let mut member = stage.join("g").await;
    member.auto = false;
    member.hold(2).await;
    member.start(0, overtaken[0], 7).await;
    member.start(1, whole[0], 7).await;
    let (mut broken, mut taken) = (Vec::new(), Vec::new());
    let deadline = harness.env().now() + harness.patience();
    while broken.is_empty() || taken.len() < whole.len() {
        match member.pull(3, harness.patience()).await {
            Came::Broken(partition, epoch, error) => broken.push((partition, epoch, error.kind())),
            Came::Deliveries(deliveries) => taken.extend(deliveries),
            _ => {}
        }
        assert!(harness.env().now() < deadline, "the break and the others in time: {broken:?}, {taken:?}");
    }
    assert_eq!(broken, [(0, 7, ErrorKind::LogChanged)]);
    assert!(taken.iter().all(|delivery| delivery.place.partition == 1), "over a gap: {taken:?}");
    member.hears_nothing("of a broken partition").await;
    let low = member.consumer.bounds(0).await.expect("a partition has bounds").low;
    member.start(0, low, 8).await;
    let left = overtaken.iter().filter(|offset| **offset >= low).count();
    assert_eq!(member.take(left).await[0].place.offset, low, "read again");
}

/// Reading begins exactly at the given offset, whatever the broker has committed.
pub async fn start_reads_from_position<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 1).await;
    if !stage.can.partitions {
        return skipped("start_reads_from_position", NO_PARTITIONS);
    }
    let receipts = stage.publish_texts(numbered(0..8)).await;
    let at = |number: usize| receipts[number].offset.unwrap_or(number as u64);
    let mut first = stage.join("g").await;
    let taken = first.take(3).await;
    first.finish(taken).await;
    first.close().await;
    for (begin, epoch) in [(1, 2), (5, 3), (0, 4)] {
        let mut next = stage.join("g").await;
        next.auto = false;
        next.hold(1).await;
        next.start(0, at(begin), epoch).await;
        let taken = next.take(8 - begin).await;
        assert_eq!(texts(&taken), numbered(begin..8).collect::<Vec<_>>(), "from {begin}");
        assert_eq!(taken[0].place.offset, at(begin));
        next.close().await;
    }
}

/// Low and high offset, the number of partitions, and an identity that is another source's no more.
pub async fn bounds_describe_the_log<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 2).await;
    if !stage.can.partitions {
        return skipped("bounds_describe_the_log", NO_PARTITIONS);
    }
    let mut member = stage.join("g").await;
    member.auto = false;
    member.hold(2).await;
    let empty = member.consumer.bounds(0).await.expect("a partition has bounds");
    assert_eq!((empty.low, empty.partitions), (empty.high, 2), "an empty log: {empty:?}");
    let receipts = stage.publish(keys(40)).await;
    for partition in 0..2 {
        let bounds = member.consumer.bounds(partition).await.expect("a partition has bounds");
        let there = receipts.iter().filter(|receipt| receipt.partition == Some(partition));
        let offsets: Vec<u64> = there.filter_map(|receipt| receipt.offset).collect();
        let (first, last) = (offsets.iter().min(), offsets.iter().max());
        assert_eq!(Some(&bounds.low), first, "partition {partition} begins at its first record");
        assert_eq!(Some(bounds.high), last.map(|last| last + 1), "partition {partition} ends after its last");
        assert_eq!(bounds.identity, empty.identity, "one log has one identity");
    }
    let elsewhere = Stage::new(harness, 1).await;
    let mut member = elsewhere.join("g").await;
    member.auto = false;
    member.hold(1).await;
    let other = member.consumer.bounds(0).await.expect("a partition has bounds");
    assert_eq!(other.partitions, 1);
    match empty.identity {
        Some(identity) => assert_ne!(other.identity, Some(identity), "another log has another identity"),
        None => skipped("the identity of a log", "the broker can't say"),
    }
}

fn keys(count: usize) -> Vec<Record> {
    (0..count).map(|number| Record::new("x").with_key(format!("key {number}"))).collect()
}

/// The first record still there, the end, or the first record at or after a time.
pub async fn origin_follows_the_reset<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 1).await;
    if !stage.can.partitions || !stage.can.seek {
        return skipped("origin_follows_the_reset", "the broker reads from no position of one's choice");
    }
    let times = publish_over_time(&stage).await;
    let (offsets, times): (Vec<u64>, Vec<Timestamp>) = times.into_iter().unzip();
    let between = times[1] + times[2].since(times[1]) / 2;
    let cases = [
        (Reset::Earliest, offsets[0]),
        (Reset::Latest, offsets[3] + 1),
        (Reset::Time(between), offsets[2]),
        (Reset::Time(times[1]), offsets[1]),
        (Reset::Time(Timestamp::from_millis(0)), offsets[0]),
        (Reset::Time(times[3] + Duration::from_secs(3600)), offsets[3] + 1),
    ];
    for (number, (reset, expected)) in cases.into_iter().enumerate() {
        let mut member = stage.join_at(&format!("g{number}"), reset).await;
        member.auto = false;
        member.hold(1).await;
        let origin = member.consumer.origin(0).await.expect("a partition has an origin");
        assert_eq!(origin, expected, "{reset:?}");
        member.close().await;
    }
}

/// Four records with what the broker says of each: its own time, or the one that the record brought.
async fn publish_over_time<H: Harness>(stage: &Stage<'_, H>) -> Vec<(u64, Timestamp)> {
    let env = stage.harness.env();
    for text in numbered(0..4) {
        let mut record = Record::new(text).with_key("one");
        record.time = Some(env.wall());
        stage.publish(vec![record]).await;
        env.sleep(Duration::from_millis(50)).await;
    }
    let mut reader = stage.join("reader").await;
    let taken = reader.take(4).await;
    let time = |delivery: &Delivery| delivery.record.time.expect("a broker that seeks by time tells times");
    taken.iter().map(|delivery| (delivery.place.offset, time(delivery))).collect()
}
