//! What the broker is told, and what it does with it.

use super::Harness;
use super::member::{text, texts};
use super::stage::{Stage, committed_becomes, numbered};
use crate::broker::{Base, Settles};
use crate::conformance::skipped;
use crate::delivery::Settlement;

/// What was not settled or committed comes again, after a close and after a crash.
pub async fn unsettled_is_redelivered<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 1).await;
    stage.publish_texts(numbered(0..5)).await;
    let mut first = stage.join("g").await;
    let mut taken = first.take(5).await;
    let rest = taken.split_off(2);
    let base = taken[1].place.offset + 1;
    first.finish(taken).await;
    drop(rest);
    first.close().await;

    let mut second = stage.join("g").await;
    second.auto = false;
    second.hold(1).await;
    if stage.can.partitions {
        second.start(0, base, 2).await;
    }
    let mut again = texts(&second.take(3).await);
    again.sort();
    assert_eq!(again, numbered(2..5).collect::<Vec<_>>(), "what was not settled before the close");
    // A crash: no close, no word.
    drop(second);

    let mut third = stage.join("g").await;
    third.auto = false;
    third.hold(1).await;
    if stage.can.partitions {
        third.start(0, base, 3).await;
    }
    let mut again = texts(&third.take(3).await);
    again.sort();
    assert_eq!(again, numbered(2..5).collect::<Vec<_>>(), "what was not settled before the crash");
}

/// What was acked, or lies below a committed base, is done for the broker.
pub async fn settled_is_not_redelivered<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 1).await;
    stage.publish_texts(numbered(0..5)).await;
    let mut first = stage.join("g").await;
    let taken = first.take(5).await;
    let base = taken[4].place.offset + 1;
    first.finish(taken).await;
    if stage.can.settles == Settles::Position {
        committed_becomes(&stage, "g", 0, base).await;
        first.close().await;
        return committed_becomes(&stage, "g", 0, base).await;
    }
    first.close().await;
    let mut second = stage.join("g").await;
    second.hears_nothing("acked by a member of the same group").await;
    stage.publish_texts(numbered(5..6)).await;
    assert_eq!(texts(&second.take(1).await), ["record 5"]);
}

/// Settling one delivery never settles another.
pub async fn settle_by_entry<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 1).await;
    if stage.can.settles == Settles::Position {
        return skipped("settle_by_entry", "the broker settles positions, not deliveries");
    }
    // One batch of the producer, so that its entries lie as close as they can.
    stage.publish_texts(numbered(0..9)).await;
    let mut first = stage.join("g").await;
    let taken = first.take(9).await;
    let settled =
        taken.into_iter().filter(|delivery| ["record 1", "record 4", "record 8"].contains(&&*text(delivery)));
    let settled = settled.map(|delivery| delivery.settle(Settlement::Ack)).collect();
    let unknown = first.consumer.settle(settled).await.expect("a settlement is taken");
    assert_eq!(unknown, [0; 0]);
    first.close().await;
    let mut second = stage.join("g").await;
    let mut again = texts(&second.take(6).await);
    again.sort();
    assert_eq!(again, [0, 2, 3, 5, 6, 7].map(|number| format!("record {number}")));
    second.hears_nothing("settled one by one").await;
}

/// A ticket or base of an older epoch changes nothing.
pub async fn stale_settle_is_harmless<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 1).await;
    stage.publish_texts(numbered(0..4)).await;
    let mut first = stage.join("g").await;
    let taken = first.take(4).await;
    if stage.can.settles == Settles::Position {
        let offsets: Vec<u64> = taken.iter().map(|delivery| delivery.place.offset).collect();
        first.start(0, offsets[0], 5).await;
        let base = |epoch, offset| vec![Base { partition: 0, epoch, offset }];
        first.consumer.commit(base(5, offsets[1])).await.expect("a base is taken");
        first.consumer.commit(base(1, offsets[3] + 1)).await.expect("a stale base is no error");
        first.consumer.commit(base(4, offsets[2] + 1)).await.expect("a stale base is no error");
        committed_becomes(&stage, "g", 0, offsets[1]).await;
        first.take(4).await;
        first.close().await;
        return committed_becomes(&stage, "g", 0, offsets[1]).await;
    }
    first.consumer.close(harness.patience()).await;
    let mut second = stage.join("g").await;
    let again = second.take(4).await;
    // The first member's tickets are void: the same numbers may be the second one's by now.
    let stale = taken.into_iter().map(|delivery| delivery.settle(Settlement::Ack)).collect();
    if let Ok(unknown) = first.consumer.settle(stale).await {
        assert_eq!(unknown.len(), 4, "tickets that the broker no longer knows are named");
    }
    drop(again);
    second.close().await;
    let mut third = stage.join("g").await;
    let mut texts = texts(&third.take(4).await);
    texts.sort();
    assert_eq!(texts, numbered(0..4).collect::<Vec<_>>(), "nothing was settled by a stale ticket");
}
