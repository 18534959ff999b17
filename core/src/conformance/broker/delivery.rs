//! Deliveries: bounded, complete, in order, as they were published.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;

use super::Harness;
use super::member::{Came, texts};
use super::stage::{Stage, numbered};
use crate::event::Record;

/// At most `credits` deliveries a call, and no delivery is missing.
pub async fn pull_never_exceeds_credits<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 1).await;
    stage.publish_texts(numbered(0..60)).await;
    let mut member = stage.join("g").await;
    let mut taken = Vec::new();
    let deadline = harness.env().now() + harness.patience();
    for credits in [1, 2, 5, 20, 3].into_iter().cycle() {
        let credits = credits.min(60 - taken.len());
        if let Came::Deliveries(deliveries) = member.pull(credits, harness.patience()).await {
            assert!(deliveries.len() <= credits, "{} deliveries for {credits} credits", deliveries.len());
            assert!(!deliveries.is_empty(), "a pull waits for at least one");
            taken.extend(texts(&deliveries));
        }
        if taken.len() == 60 {
            break;
        }
        assert!(harness.env().now() < deadline, "60 deliveries in time; {} came", taken.len());
    }
    assert_eq!(member.by_publication(taken), numbered(0..60).collect::<Vec<_>>());
}

/// A pull that is dropped, at once or while it waits, loses nothing.
pub async fn pull_is_cancel_safe<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 1).await;
    let mut member = stage.join("g").await;
    member.hold(1).await;
    let mut taken = Vec::new();
    let deadline = harness.env().now() + harness.patience();
    for round in 0.. {
        if round < 30 {
            stage.publish_texts(numbered(round..round + 1)).await;
        }
        // Polled once and dropped: what was ready comes, what was not must not be lost.
        if let Some(Came::Deliveries(deliveries)) = member.pull(2, harness.patience()).now_or_never() {
            taken.extend(texts(&deliveries));
        }
        let short = Duration::from_millis(if round < 60 { 3 } else { 50 });
        if let Came::Deliveries(deliveries) = member.pull(2, short).await {
            taken.extend(texts(&deliveries));
        }
        if taken.len() >= 30 {
            break;
        }
        assert!(harness.env().now() < deadline, "30 deliveries in time; there are {taken:?}");
    }
    assert_eq!(member.by_publication(taken), numbered(0..30).collect::<Vec<_>>(), "each once, in order");
}

/// Deliveries of one partition come in growing offset, and are what was published there.
pub async fn pull_keeps_partition_order<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 3).await;
    let record =
        |number: usize| Record::new(format!("record {number}")).with_key(format!("key {}", number % 17));
    let mut receipts = Vec::new();
    for batch in 0..4 {
        receipts.extend(stage.publish((batch * 50..batch * 50 + 50).map(record).collect()).await);
    }
    let mut member = stage.join("g").await;
    // The member itself asserts the order of the offsets.
    let taken = member.take(200).await;
    let mut by_key: BTreeMap<Option<Bytes>, Vec<usize>> = BTreeMap::new();
    for delivery in &taken {
        let number = texts(std::slice::from_ref(delivery))[0].trim_start_matches("record ").parse();
        let number: usize = number.expect("the payload tells the number");
        by_key.entry(delivery.record.key.clone()).or_default().push(number);
        let receipt = &receipts[number];
        if let (Some(partition), Some(offset)) = (receipt.partition, receipt.offset) {
            assert_eq!((delivery.place.partition, delivery.place.offset), (partition, offset), "{number}");
        }
    }
    if member.can.ordered {
        assert!(
            by_key.values().all(|numbers| numbers.is_sorted()),
            "in the order of publication: {by_key:?}"
        );
    }
    let mut all: Vec<usize> = by_key.into_values().flatten().collect();
    all.sort_unstable();
    assert_eq!(all, (0..200).collect::<Vec<_>>());
}

/// Bytes, order and repetition of headers, key and payload as they were published.
pub async fn headers_and_key_pass_through<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 1).await;
    let binary: Vec<u8> = (0..=255).collect();
    let full = Record::new(binary.clone())
        .with_key(vec![0, 159, 146, 150, 10])
        .with_header("b", "second")
        .with_header("a", "first")
        .with_header("b", binary)
        .with_header("B", "")
        .with_header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let empty = Record::new(Bytes::new()).with_key("key");
    stage.publish(vec![full.clone(), empty.clone()]).await;
    let mut member = stage.join("g").await;
    let taken = member.take(2).await;
    for (delivery, published) in taken.iter().zip([full, empty]) {
        assert_eq!(delivery.record.payload, published.payload);
        assert_eq!(delivery.record.key, published.key);
        assert_eq!(delivery.record.headers, published.headers, "bytes, order and repetition");
    }
    assert!(taken[0].record.time.is_some(), "when it was written");
}
