//! What is handed out, what is broken, and what a late word changes.

use std::num::NonZeroU32;

use keylane::env::Timestamp;
use keylane::event::Record;
use keylane::{ErrorKind, Text};

use super::*;
use crate::chunk::{ChunkBuilder, encode};

fn readings(partitions: u32) -> Readings {
    let partitions = NonZeroU32::new(partitions).unwrap();
    let stream = Stream { id: 1, name: "s".into(), identity: Text::from_static("i"), partitions };
    let mut readings = Readings::new(stream);
    readings.assign(&(0..partitions.get()).collect::<Vec<_>>());
    readings
}

fn chunk(first: u64, count: u64) -> Chunk {
    let mut chunk = ChunkBuilder::new();
    for offset in first..first + count {
        let time = Timestamp::default();
        chunk.push(&encode(&Record::new(offset.to_string()), time).unwrap(), time);
    }
    Chunk { first, count, body: chunk.finish().into() }
}

fn ends(partition: Partition, low: u64, next: u64) -> Ends {
    Ends { partition, low, next, bytes: 0 }
}

fn broken(readings: &mut Readings) -> Option<ErrorKind> {
    match readings.take_broken()? {
        Change::Broken { partition: 0, error, .. } => Some(error.kind()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_start_of_an_older_claim_changes_nothing() {
    let mut readings = readings(1);
    assert!(readings.start(start(0, 3)));
    assert!(!readings.start(Start { epoch: 6, ..start(0, 0) }));
    readings.observe(&[ends(0, 0, 9)]);
    assert_eq!(readings.wanted()[0].from, 3);
}

fn start(partition: Partition, offset: u64) -> Start {
    Start { partition, offset, epoch: 7 }
}

fn offsets(deliveries: &[Delivery]) -> Vec<(u32, u64)> {
    deliveries.iter().map(|d| (d.place.partition, d.place.offset)).collect()
}

#[test]
fn a_start_within_a_chunk_skips_what_lies_before() {
    let mut readings = readings(1);
    readings.start(start(0, 3));
    readings.observe(&[ends(0, 0, 6)]);
    let [want] = readings.wanted()[..] else { panic!("one page is wanted") };
    readings.install(want, vec![chunk(2, 4)]);
    let deliveries = readings.take(10);
    assert_eq!(offsets(&deliveries), [(0, 3), (0, 4), (0, 5)]);
    assert_eq!(deliveries[0].record.payload, "3");
    assert!(deliveries.iter().all(|d| d.place.epoch == 7));
    assert_eq!(readings.wanted(), []);
}

#[test]
fn l2_a_gap_below_a_page_is_an_error() {
    let mut readings = readings(1);
    readings.start(start(0, 3));
    readings.observe(&[ends(0, 0, 9)]);
    let want = readings.wanted()[0];
    readings.install(want, vec![chunk(5, 1)]);
    assert_eq!(broken(&mut readings), Some(ErrorKind::LogChanged));
    assert_eq!(broken(&mut readings), None, "once");
    readings.start(Start { epoch: 8, ..start(0, 3) });
    assert!(readings.observe(&[ends(0, 5, 9)]));
    assert_eq!(broken(&mut readings), Some(ErrorKind::LogChanged));
}

#[test]
fn what_lies_before_damage_is_delivered_and_the_damage_never_passed_over() {
    let mut readings = readings(1);
    readings.start(start(0, 0));
    readings.observe(&[ends(0, 0, 3)]);
    let want = readings.wanted()[0];
    let mut chunk = chunk(0, 3);
    let mut body = chunk.body.to_vec();
    // The second record's flags, behind its length and version; the first one is as long.
    let length = usize::from(body[1]);
    body[1 + (4 + length) + 4 + 1] = 0xFF;
    chunk.body = body.into();
    readings.install(want, vec![chunk]);
    assert_eq!(offsets(&readings.take(9)), [(0, 0)]);
    assert!(readings.take(9).is_empty());
    assert_eq!(broken(&mut readings), Some(ErrorKind::Corrupt));
    assert!(readings.take(9).is_empty() && readings.wanted().is_empty() && !readings.any_active());
}

#[test]
fn a_page_that_comes_after_a_new_start_is_dropped() {
    let mut readings = readings(1);
    readings.start(start(0, 0));
    readings.observe(&[ends(0, 0, 9)]);
    let want = readings.wanted()[0];
    readings.start(Start { epoch: 8, ..start(0, 4) });
    readings.install(want, vec![chunk(0, 9)]);
    assert!(readings.take(10).is_empty());
}

#[test]
fn credits_are_shared_and_what_one_leaves_the_others_get() {
    let mut readings = readings(3);
    for (partition, count) in [(0, 9), (1, 1), (2, 9)] {
        readings.start(start(partition, 0));
        readings.observe(&[ends(partition, 0, count)]);
        let want = *readings.wanted().iter().find(|want| want.partition == partition).unwrap();
        readings.install(want, vec![chunk(0, count)]);
    }
    let mut counts = [0; 3];
    for (partition, _) in offsets(&readings.take(9)) {
        counts[partition as usize] += 1;
    }
    assert_eq!(counts, [3, 1, 5]);
    assert_eq!(readings.take(100).len(), 10);
}

#[test]
fn what_is_not_assigned_or_paused_gives_nothing() {
    let mut readings = readings(2);
    readings.stop(&[1]);
    readings.start(start(0, 0));
    readings.start(start(1, 0));
    assert_eq!(readings.epoch(1), None);
    readings.observe(&[ends(0, 0, 2), ends(1, 0, 2)]);
    let want = readings.wanted()[0];
    readings.install(want, vec![chunk(0, 2)]);
    readings.pause(None, true);
    assert!(readings.take(9).is_empty());
    assert!(!readings.any_active());
    readings.pause(Some(&[0]), false);
    assert_eq!(readings.take(9).len(), 2);
}
