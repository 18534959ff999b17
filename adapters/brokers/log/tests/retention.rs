//! Letting go of old records, and those who still wanted to read them.

use std::sync::Arc;

use keylane::ErrorKind;
use keylane::broker::{Broker, Consumer, Start};
use keylane::config::Period;
use keylane_log::{LogBroker, LogConfig, Position};

use crate::fixture::*;

/// Publishes `count` records of one key, a transaction each.
async fn publish_singly(log: &LogBroker, count: u64) {
    for n in 0..count {
        publish_all(log, vec![to("s", "k", n)]).await;
    }
}

async fn low_high(log: &LogBroker) -> (u64, u64) {
    let bounds = log.bounds("s").await.unwrap();
    (bounds[0].low, bounds[0].high)
}

#[tokio::test]
async fn without_bounds_everything_stays() {
    let file = File::new();
    let log = file.open(config(1)).await;
    publish_singly(&log, 10).await;
    assert_eq!(log.sweep().await.unwrap(), 0);
    assert_eq!(low_high(&log).await, (0, 10));
}

#[tokio::test]
async fn beyond_so_many_records_the_oldest_go_in_steps() {
    let file = File::new();
    let log = file.open(LogConfig { keep_records: Some(5), ..config(1) }).await;
    // More rows than one step takes.
    let publisher = log.publisher().await.unwrap();
    for n in 0..300 {
        publisher.publish(vec![to("s", "k", n)]).await;
    }
    assert_eq!(log.sweep().await.unwrap(), 295);
    assert_eq!(low_high(&log).await, (295, 300));
    assert_eq!(log.sweep().await.unwrap(), 0);
    let rest = log.read(&[Position { stream: "s".into(), partition: 0, offset: 295 }], 99).await.unwrap();
    assert_eq!(rest[0].records.len(), 5);
}

#[tokio::test]
async fn by_time_and_offsets_are_not_used_again() {
    let file = File::new();
    let log = file.open(LogConfig { keep_for: Some(Period::default()), ..config(1) }).await;
    publish_singly(&log, 3).await;
    let last = file.env.wall();
    while file.env.wall() <= last {
        tokio::task::yield_now().await;
    }
    log.sweep().await.unwrap();
    assert_eq!(low_high(&log).await, (3, 3));
    assert_eq!(publish_all(&log, vec![to("s", "k", 3)]).await, [(0, 3)]);
}

#[tokio::test]
async fn the_sweeper_runs_by_itself_and_ends_with_the_log() {
    let file = File::new();
    let every = Period::millis(10);
    let log = file.open(LogConfig { keep_records: Some(1), sweep_every: every, ..config(1) }).await;
    publish_singly(&log, 5).await;
    while low_high(&log).await.0 < 4 {
        tokio::task::yield_now().await;
    }
    log.close().await;
}

#[tokio::test]
async fn l2_a_reader_that_was_overtaken_is_told_and_skips_nothing() {
    let file = File::new();
    let log = file.open(LogConfig { keep_records: Some(5), ..config(1) }).await;
    publish_singly(&log, 20).await;
    let consumer: Arc<dyn Consumer> = log.consumer(spec("s", "g")).await.unwrap();
    assigned(&consumer).await;
    log.sweep().await.unwrap();
    assert_eq!(consumer.bounds(0).await.unwrap().low, 15);
    consumer.start(vec![Start { partition: 0, offset: 10, epoch: 1 }]).await.unwrap();
    let error = broken(change(&consumer).await);
    assert_eq!(error.kind(), ErrorKind::LogChanged);
    assert!(error.to_string().contains("10") && error.to_string().contains("15"), "{error}");
    consumer.start(vec![Start { partition: 0, offset: 15, epoch: 2 }]).await.unwrap();
    assert_eq!(take(&consumer, 5, 5).await[0].place.offset, 15);
}
