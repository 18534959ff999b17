//! What the broker is told, and what it counts.

use std::sync::Arc;

use futures_util::FutureExt;
use keylane::broker::{Broker, ConsumerSpec, Outgoing};
use keylane::delivery::{Delivery, Settlement};
use keylane::event::Record;
use lapin::types::AMQPValue;

use crate::reader::{Reader, publish, texts};
use crate::server::{Admin, CLASSIC, QUORUM, config, connect, server, spec};

/// A queue with so many messages, and a broker to read it.
async fn full(kind: &str, messages: usize) -> Option<(Admin, Arc<dyn Broker>, String)> {
    let uri = server()?;
    let admin = Admin::new(&uri).await;
    let queue = admin.queue(kind, &[]).await;
    let broker = connect(config(&uri)).await;
    publish(&broker, &queue, messages).await;
    Some((admin, broker, queue))
}

fn bounded(queue: &str, unsettled_max: usize) -> ConsumerSpec {
    ConsumerSpec { unsettled_max, ..spec(queue, QUORUM) }
}

fn attempts(deliveries: &[Delivery]) -> Vec<Option<u32>> {
    deliveries.iter().map(|delivery| delivery.attempt).collect()
}

#[tokio::test]
async fn a_quorum_queue_counts_attempts_and_a_classic_one_does_not() {
    for (kind, settings, second) in [("quorum", QUORUM, Some(2)), ("classic", CLASSIC, None)] {
        let Some((_admin, broker, queue)) = full(kind, 1).await else { return };
        let reader = Reader::new(&broker, spec(&queue, settings)).await;
        assert_eq!(reader.0.capabilities().attempts, kind == "quorum");
        let first = reader.take(1).await;
        assert_eq!(attempts(&first), [Some(1)]);
        reader.settle(first, Settlement::Release).await;
        let again = reader.take(1).await;
        assert_eq!(attempts(&again), [second], "{kind}");
        assert!(again[0].record.headers.is_empty(), "the count is no header of the event");
        reader.settle(again, Settlement::Release).await;
        let third = reader.take(1).await;
        assert_eq!(attempts(&third), [second.map(|second| second + 1)], "{kind}");
    }
}

#[tokio::test]
async fn what_is_rejected_goes_to_the_dead_letter_target() {
    let Some(uri) = server() else { return };
    let (admin, broker) = (Admin::new(&uri).await, connect(config(&uri)).await);
    let dead = admin.queue("quorum", &[]).await;
    let target = [
        ("x-dead-letter-exchange", AMQPValue::LongString("".into())),
        ("x-dead-letter-routing-key", AMQPValue::LongString(dead.clone().into())),
    ];
    let queue = admin.queue("quorum", &target).await;
    publish(&broker, &queue, 3).await;
    let reader = Reader::new(&broker, spec(&queue, &format!("dead_letter = '{dead}'"))).await;
    let mut taken = reader.take(3).await;
    reader.settle(taken.drain(1..2).collect(), Settlement::Reject).await;
    reader.settle(taken, Settlement::Ack).await;
    let undertaker = Reader::new(&broker, spec(&dead, QUORUM)).await;
    let taken = undertaker.take(1).await;
    assert_eq!(texts(&taken), ["1"]);
    let death = taken[0].record.headers.text("x-death").expect("the broker says how it died");
    assert!(death.contains(&queue) && death.contains("rejected"), "{death}");
    reader.hears_nothing().await;
}

#[tokio::test]
async fn large_messages_lie_here_within_the_bound_of_bytes() {
    const LARGE: usize = 64 << 10;
    let Some(uri) = server() else { return };
    let (admin, broker) = (Admin::new(&uri).await, connect(config(&uri)).await);
    let queue = admin.queue("quorum", &[]).await;
    let large = |_| Outgoing { target: queue.clone(), record: Record::new(vec![b'x'; LARGE]) };
    let publisher = broker.publisher().await.unwrap();
    for confirmed in publisher.publish((0..120).map(large).collect()).await {
        confirmed.unwrap();
    }
    // By the size that messages are said to have, 256 of them fit, which is all that there are.
    let within = ConsumerSpec { prefetch_bytes_max: 1 << 20, ..spec(&queue, QUORUM) };
    let reader = Reader::new(&broker, within).await;
    assert_eq!(reader.word_of_a_new_connection().await, 2, "once is enough");
    let fitting = (1 << 20) / LARGE - 1;
    let held = reader.take(fitting).await;
    reader.hears_nothing().await;
    reader.settle(held, Settlement::Ack).await;
    for _ in fitting..120 {
        let next = reader.take(1).await;
        reader.settle(next, Settlement::Ack).await;
    }
    reader.hears_nothing().await;
}

#[tokio::test]
async fn a_slow_head_holds_up_nobody() {
    let Some((_admin, broker, queue)) = full("quorum", 200).await else { return };
    let reader = Reader::new(&broker, bounded(&queue, 16)).await;
    let head = reader.take(1).await;
    // Fifteen may be out beside it: all of the rest comes only if what is behind it is told.
    for _ in 0..199 {
        let next = reader.take(1).await;
        reader.settle(next, Settlement::Ack).await;
    }
    reader.settle(head, Settlement::Ack).await;
    reader.hears_nothing().await;
}

#[tokio::test]
async fn what_is_held_back_is_told_before_long() {
    let Some((_admin, broker, queue)) = full("quorum", 17).await else { return };
    let reader = Reader::new(&broker, bounded(&queue, 16)).await;
    let mut taken = reader.take(16).await;
    // One behind fifteen that are open, and nothing is settled after it: its room is the seventeenth's.
    reader.settle(taken.drain(15..).collect(), Settlement::Ack).await;
    assert_eq!(texts(&reader.take(1).await), ["16"]);
    drop(taken);
}

#[tokio::test]
async fn a_give_back_whose_caller_went_is_never_acknowledged_by_what_follows() {
    let Some((admin, broker, queue)) = full("quorum", 5).await else { return };
    let reader = Reader::new(&broker, spec(&queue, QUORUM)).await;
    let mut taken = reader.take(5).await;
    let second = taken.remove(1).settle(Settlement::Release);
    // Polled once and dropped.
    let answer = reader.0.settle(vec![second]).now_or_never();
    assert!(answer.is_none(), "the test shows nothing if the answer was there at once");
    reader.settle(taken, Settlement::Ack).await;
    let again = reader.take(1).await;
    assert_eq!(texts(&again), ["1"]);
    reader.settle(again, Settlement::Ack).await;
    reader.close().await;
    admin.ready_becomes(&queue, 0).await;
}

#[tokio::test]
async fn settle_by_entry_in_any_order_and_at_once() {
    const MESSAGES: usize = 600;
    let Some((admin, broker, queue)) = full("quorum", MESSAGES).await else { return };
    let reader = Reader::new(&broker, spec(&queue, QUORUM)).await;
    let mut parts: [Vec<Delivery>; 7] = Default::default();
    for (number, delivery) in reader.take(MESSAGES).await.into_iter().enumerate() {
        parts[number * 31 % 7].push(delivery);
    }
    let kept = parts[3].len();
    let settling = parts.into_iter().enumerate().map(|(number, part)| {
        let settlement = if number == 3 { Settlement::Release } else { Settlement::Ack };
        reader.settle(part, settlement)
    });
    futures_util::future::join_all(settling).await;
    let again = reader.take(kept).await;
    assert!(again.iter().all(|delivery| delivery.attempt == Some(2)), "{:?}", attempts(&again));
    reader.settle(again, Settlement::Ack).await;
    reader.hears_nothing().await;
    reader.close().await;
    admin.ready_becomes(&queue, 0).await;
}

#[tokio::test]
async fn a_delay_is_refused_and_settles_nothing() {
    let Some((admin, broker, queue)) = full("quorum", 2).await else { return };
    let reader = Reader::new(&broker, spec(&queue, QUORUM)).await;
    let mut taken = reader.take(2).await;
    let delay = taken.remove(0).settle(Settlement::RetryLater(std::time::Duration::from_secs(1)));
    let ack = taken.remove(0).settle(Settlement::Ack);
    reader.0.settle(vec![ack, delay]).await.unwrap_err();
    reader.close().await;
    admin.ready_becomes(&queue, 2).await;
}
