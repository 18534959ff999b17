//! Writing, and reading what others wrote.

use keylane::Class;
use keylane::broker::Outgoing;
use keylane::env::Timestamp;
use keylane::event::Record;
use lapin::BasicProperties;
use lapin::ExchangeKind;
use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions, ExchangeDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};

use crate::reader::{Reader, texts};
use crate::server::{Admin, QUORUM, config, connect, name, server, spec};

fn to(target: &str, record: Record) -> Outgoing {
    Outgoing { target: target.to_owned(), record }
}

#[tokio::test]
async fn headers_that_fit_no_frame_fail_alone() {
    let Some(uri) = server() else { return };
    let (admin, broker) = (Admin::new(&uri).await, connect(config(&uri)).await);
    let queue = admin.queue("quorum", &[]).await;
    let heavy = |bytes: usize| to(&queue, Record::new("heavy").with_header("h", vec![b'x'; bytes]));
    let batch = vec![
        to(&queue, Record::new("before")),
        heavy(131_072),
        heavy(130_000),
        to(&queue, Record::new("after")),
    ];
    let publisher = broker.publisher().await.unwrap();
    let results = publisher.publish(batch).await;
    let [Ok(_), Err(error), Ok(_), Ok(_)] = &results[..] else { panic!("{results:?}") };
    assert!(error.class() == Class::Permanent && error.to_string().contains("frame"), "{error}");
    assert!(error.to_string().contains(&queue), "{error}");
    let reader = Reader::new(&broker, spec(&queue, QUORUM)).await;
    let taken = reader.take(3).await;
    assert_eq!(texts(&taken), ["before", "heavy", "after"]);
    assert_eq!(taken[1].record.headers.first("h").map(|h| h.len()), Some(130_000));
}

#[tokio::test]
async fn what_no_queue_takes_is_an_error_that_names_the_target() {
    let Some(uri) = server() else { return };
    let (admin, broker) = (Admin::new(&uri).await, connect(config(&uri)).await);
    let exchange = name();
    let declare = async || {
        let (options, none) = (ExchangeDeclareOptions::default(), FieldTable::default());
        admin
            .channel
            .exchange_declare((&*exchange).into(), ExchangeKind::Direct, options, none)
            .await
            .unwrap();
    };
    declare().await;
    let (queue, target) = (admin.queue("quorum", &[]).await, format!("/exchanges/{exchange}/nowhere"));
    let publisher = broker.publisher().await.unwrap();
    let both = || vec![to(&target, Record::new("lost")), to(&queue, Record::new("kept"))];
    let results = publisher.publish(both()).await;
    let [Err(error), Ok(_)] = &results[..] else { panic!("{results:?}") };
    assert!(error.class() == Class::Permanent && error.to_string().contains(&target), "{error}");

    // It was there when it was asked for; a message to it now ends the channel, with what is under way on it.
    admin.channel.exchange_delete((&*exchange).into(), ExchangeDeleteOptions::default()).await.unwrap();
    let results = publisher.publish(vec![to(&target, Record::new("lost"))]).await;
    assert!(results[0].is_err(), "{results:?}");
    let results = publisher.publish(both()).await;
    let [Err(error), Ok(_)] = &results[..] else { panic!("{results:?}") };
    assert!(error.class() == Class::Permanent && error.to_string().contains(&exchange), "{error}");
    declare().await;
    let results = publisher.publish(both()).await;
    assert!(results[0].is_err() && results[1].is_ok(), "{results:?}");
}

#[tokio::test]
async fn headers_that_mean_something_to_the_broker_pass_through() {
    let Some(uri) = server() else { return };
    let (admin, broker) = (Admin::new(&uri).await, connect(config(&uri)).await);
    let (queue, other) = (admin.queue("quorum", &[]).await, admin.queue("quorum", &[]).await);
    let mut record = Record::new("x")
        .with_header("CC", other.clone())
        .with_header("x-death", "long ago")
        .with_header("content-type", "application/json")
        .with_header("a", "1");
    record.id = Some("m-1".into());
    record.time = Some(Timestamp::from_millis(7_000));
    let publisher = broker.publisher().await.unwrap();
    publisher.publish(vec![to(&queue, record.clone())]).await.remove(0).unwrap();
    let reader = Reader::new(&broker, spec(&queue, QUORUM)).await;
    assert_eq!(reader.take(1).await.remove(0).record, record);
    assert_eq!(admin.ready(&other).await, 0, "a carbon copy went out");
}

#[tokio::test]
async fn what_others_wrote_is_read_with_its_properties() {
    let Some(uri) = server() else { return };
    let (admin, broker) = (Admin::new(&uri).await, connect(config(&uri)).await);
    let queue = admin.queue("quorum", &[]).await;
    let mut table = FieldTable::default();
    table.insert("cloudEvents:type".into(), AMQPValue::LongString("order.paid".into()));
    table.insert("retries".into(), AMQPValue::LongInt(-3));
    let properties = BasicProperties::default()
        .with_headers(table)
        .with_message_id("m-9".into())
        .with_timestamp(1_700_000_000)
        .with_content_type("text/plain".into())
        .with_type("paid".into());
    let options = BasicPublishOptions::default();
    let sent = admin.channel.basic_publish("".into(), (&*queue).into(), options, b"body", properties).await;
    sent.unwrap().await.unwrap();
    let reader = Reader::new(&broker, spec(&queue, "delivery_limit = 'none'\nkey = 'routing_key'")).await;
    let record = reader.take(1).await.remove(0).record;
    let headers: Vec<_> = record.headers.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
    let expected = [
        ("cloudEvents:type", &b"order.paid"[..]),
        ("retries", b"-3"),
        ("content-type", b"text/plain"),
        ("type", b"paid"),
    ];
    assert_eq!(headers, expected);
    assert_eq!(
        (record.id, record.time),
        (Some("m-9".into()), Some(Timestamp::from_millis(1_700_000_000_000)))
    );
    assert_eq!(record.key.as_deref(), Some(queue.as_bytes()));
}

#[tokio::test]
async fn a_closed_publisher_says_so() {
    let Some(uri) = server() else { return };
    let (admin, broker) = (Admin::new(&uri).await, connect(config(&uri)).await);
    let queue = admin.queue("classic", &[]).await;
    let publisher = broker.publisher().await.unwrap();
    publisher.publish(vec![to(&queue, Record::new("x"))]).await.remove(0).unwrap();
    broker.close().await;
    publisher.publish(vec![to(&queue, Record::new("x"))]).await.remove(0).unwrap_err();
    assert!(broker.publisher().await.is_err() && broker.consumer(spec(&queue, QUORUM)).await.is_err());
}
