//! What is there, what is declared, and what is refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keylane::Class;
use keylane::broker::{Broker, Outgoing};
use keylane::delivery::Settlement;
use keylane::event::Record;

use crate::reader::{Reader, publish, texts};
use crate::server::{Admin, QUORUM, config, connect, name, server, spec};

async fn refused(broker: &Arc<dyn Broker>, source: &str, settings: &str) -> String {
    let error = broker.consumer(spec(source, settings)).await.err().expect("it was taken");
    assert_eq!(error.class(), Class::Permanent, "{error}");
    error.to_string()
}

#[tokio::test]
async fn what_is_not_there_is_refused_and_not_declared() {
    let Some(uri) = server() else { return };
    let broker = connect(config(&uri)).await;
    let missing = name();
    for _ in 0..2 {
        let refusal = refused(&broker, &missing, QUORUM).await;
        assert!(refusal.contains(&missing) && refusal.contains("declare"), "{refusal}");
    }
}

#[tokio::test]
async fn t5_a_limit_without_a_dead_letter_target_is_refused() {
    let Some(uri) = server() else { return };
    let (admin, broker) = (Admin::new(&uri).await, connect(config(&uri)).await);
    let (queue, missing) = (admin.queue("quorum", &[]).await, name());
    assert!(refused(&broker, &queue, "").await.contains("delivery_limit"));
    for dead in [missing.clone(), format!("/exchanges/{missing}/dead")] {
        let refusal = refused(&broker, &queue, &format!("dead_letter = '{dead}'")).await;
        assert!(refusal.contains(&missing), "{refusal}");
    }
}

#[tokio::test]
async fn declared_queues_are_compared() {
    let Some(uri) = server() else { return };
    let (admin, broker) = (Admin::new(&uri).await, connect(config(&uri)).await);
    let (queue, dead) = (name(), admin.queue("quorum", &[]).await);
    let settings =
        format!("declare = true\ndelivery_limit = 'none'\ndead_letter = '{dead}'\nconsumer_timeout = '2h'");
    for round in 0..2 {
        let reader = Reader::new(&broker, spec(&queue, &settings)).await;
        publish(&broker, &queue, 1).await;
        let taken = reader.take(1).await;
        reader.settle(taken, Settlement::Ack).await;
        reader.close().await;
        assert_eq!(admin.ready(&queue).await, 0, "{round}");
    }
    let refusal = refused(&broker, &queue, &format!("{settings}\nkind = 'classic'")).await;
    assert!(refusal.contains(&queue) && refusal.contains("x-queue-type"), "{refusal}");
}

#[tokio::test]
async fn an_ordered_subscription_is_declared_whole() {
    let Some(uri) = server() else { return };
    let broker = connect(config(&uri)).await;
    let source = format!("/exchanges/{}", name());
    let settings = "declare = true\ndelivery_limit = 'none'\nqueues = 3";
    let reader = Reader::new(&broker, spec(&source, settings)).await;
    assert!(reader.0.capabilities().ordered && !reader.0.capabilities().partitions);
    let refusal = refused(&broker, &source, "declare = true\ndelivery_limit = 'none'").await;
    assert!(refusal.contains("`queues`"), "{refusal}");
    let publisher = broker.publisher().await.unwrap();
    let out = |n: u32| {
        let record = Record::new(n.to_string()).with_key(format!("key {}", n % 20));
        Outgoing { target: source.clone(), record }
    };
    let results = publisher.publish((0..200).map(out).collect()).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");

    // All of it is out at the first worker; the second is nobody's active consumer.
    let first = reader.take(200).await;
    let second = Reader::new(&connect(config(&uri)).await, spec(&source, settings)).await;
    second.hears_nothing().await;
    assert_in_order(&first);
    let (done, rest): (Vec<_>, Vec<_>) = first.into_iter().enumerate().partition(|(at, _)| at % 3 == 0);
    reader.settle(done.into_iter().map(|(_, delivery)| delivery).collect(), Settlement::Ack).await;
    let rest = rest.len();
    reader.0.close(Duration::from_secs(5)).await;
    let again = second.take(rest).await;
    assert_in_order(&again);
    second.settle(again, Settlement::Ack).await;
    second.hears_nothing().await;
}

fn assert_in_order(deliveries: &[keylane::delivery::Delivery]) {
    let mut by_key: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for (delivery, text) in deliveries.iter().zip(texts(deliveries)) {
        by_key.entry(delivery.record.key.clone()).or_default().push(text.parse().unwrap());
    }
    assert!(by_key.values().all(|numbers| numbers.is_sorted()), "{by_key:?}");
}

#[tokio::test]
async fn each_queue_needs_room_for_one() {
    let Some(uri) = server() else { return };
    let broker = connect(config(&uri)).await;
    let few = keylane::broker::ConsumerSpec {
        unsettled_max: 2,
        ..spec("/exchanges/orders", "delivery_limit = 'none'\nqueues = 3")
    };
    let error = broker.consumer(few).await.err().expect("it was taken");
    assert!(error.to_string().contains("3 queues"), "{error}");
}

#[tokio::test]
async fn one_deleted_queue_of_several_is_an_error_that_names_it() {
    let Some(uri) = server() else { return };
    let (admin, broker) = (Admin::new(&uri).await, connect(config(&uri)).await);
    let exchange = admin.ordered("quorum", 3).await;
    let reader =
        Reader::new(&broker, spec(&format!("/exchanges/{exchange}"), "delivery_limit = 'none'\nqueues = 3"))
            .await;
    admin.delete(&format!("{exchange}.1")).await;
    let error = reader.fails().await;
    assert!(error.to_string().contains(&format!("{exchange}.1")), "{error}");
}
