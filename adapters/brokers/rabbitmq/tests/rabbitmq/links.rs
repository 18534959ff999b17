//! Connections that end, fall silent, or are never made.

use std::sync::Arc;
use std::time::Duration;

use keylane::broker::{Broker, BrokerAdapter, Outgoing};
use keylane::config::Period;
use keylane::delivery::Settlement;
use keylane::event::Record;
use keylane::{Class, Env, Error};
use keylane_rabbitmq::{RabbitMq, RabbitMqConfig};
use tokio::time::timeout;

use crate::proxy::Proxy;
use crate::reader::{Reader, publish, texts};
use crate::server::{Admin, CLASSIC, PATIENCE, QUORUM, config, connect, link, server, spec};

/// A queue with three messages, read by a link that can be cut.
async fn linked() -> Option<(Admin, Proxy, Arc<dyn Broker>, String)> {
    let uri = server()?;
    let (proxy, through) = link(&uri)?;
    let admin = Admin::new(&uri).await;
    let queue = admin.queue("quorum", &[]).await;
    publish(&connect(config(&uri)).await, &queue, 3).await;
    Some((admin, proxy, connect(config(&through)).await, queue))
}

#[tokio::test]
async fn stale_settle_is_lost_on_a_dead_channel() {
    let Some((admin, proxy, broker, queue)) = linked().await else { return };
    let reader = Reader::new(&broker, spec(&queue, QUORUM)).await;
    let mut taken = reader.take(3).await;
    proxy.cut();
    // The broker has noticed, and nothing was read here yet.
    admin.ready_becomes(&queue, 3).await;
    let first = taken.remove(0);
    let number = first.ticket.number();
    assert_eq!(reader.lost(vec![first], Settlement::Ack).await, [number]);
    assert_eq!(reader.voided().await, 2);
    assert_eq!(reader.lost(taken, Settlement::Release).await.len(), 2);
    proxy.mend();
    let again = reader.take_in_the_end(3).await;
    assert!(again.iter().all(|delivery| delivery.place.epoch == 2 && delivery.place.offset >= 3));
    assert!(again.iter().all(|delivery| delivery.attempt == Some(2)), "a lost connection counts");
    reader.settle(again, Settlement::Ack).await;
    reader.close().await;
    admin.ready_becomes(&queue, 0).await;
}

#[tokio::test]
async fn a_settlement_under_way_when_the_connection_ends_is_answered() {
    let Some(uri) = server() else { return };
    let Some((proxy, through)) = link(&uri) else { return };
    let queue = Admin::new(&uri).await.queue("quorum", &[]).await;
    publish(&connect(config(&uri)).await, &queue, 100).await;
    // Beyond all patience: an answer that waits for it is none.
    let broker = connect(RabbitMqConfig { request_max: Period::secs(300), ..config(&through) }).await;
    let reader = Reader::new(&broker, spec(&queue, QUORUM)).await;
    for _ in 0..20 {
        let taken = reader.take_in_the_end(5).await;
        let batches = taken.into_iter().map(|delivery| reader.lost(vec![delivery], Settlement::Ack));
        let cut = async { proxy.cut() };
        // Some are told before the cut, some after it, and some are on their way.
        tokio::join!(futures_util::future::join_all(batches), cut);
        proxy.mend();
    }
}

#[tokio::test]
async fn a_message_under_way_when_the_connection_ends_is_answered() {
    let Some(uri) = server() else { return };
    let Some((proxy, through)) = link(&uri) else { return };
    let queue = Admin::new(&uri).await.queue("quorum", &[]).await;
    let broker = connect(RabbitMqConfig { publish_max: Period::secs(300), ..config(&through) }).await;
    let publisher = broker.publisher().await.unwrap();
    let batch = |count| vec![Outgoing { target: queue.clone(), record: Record::new("x") }; count];
    for _ in 0..10 {
        let connected = async { while publisher.publish(batch(1)).await[0].is_err() {} };
        timeout(PATIENCE, connected).await.expect("a new connection");
        let cut = async { proxy.cut() };
        let (results, ()) = tokio::join!(timeout(PATIENCE, publisher.publish(batch(500))), cut);
        let results = results.expect("publishing ends");
        let errors = results.iter().filter_map(|result| result.as_ref().err());
        errors.for_each(|error| assert!(error.is_transient(), "{error}"));
        proxy.mend();
    }
}

#[tokio::test]
async fn a_link_that_falls_silent_is_noticed() {
    let Some((admin, proxy, broker, queue)) = linked().await else { return };
    let reader = Reader::new(&broker, spec(&queue, QUORUM)).await;
    let taken = reader.take(3).await;
    proxy.silence();
    assert_eq!(reader.voided().await, 2);
    assert_eq!(reader.lost(taken, Settlement::Ack).await.len(), 3);
    admin.ready_becomes(&queue, 3).await;
    // And leaving while it lasts ends as well.
    reader.close().await;
}

#[tokio::test]
async fn close_is_bounded_on_a_link_that_fell_silent() {
    let Some((admin, proxy, broker, queue)) = linked().await else { return };
    let reader = Reader::new(&broker, spec(&queue, QUORUM)).await;
    let taken = reader.take(3).await;
    proxy.silence();
    let settled = taken.into_iter().map(|delivery| delivery.settle(Settlement::Ack)).collect();
    let (settled, closed) = tokio::join!(
        timeout(PATIENCE, reader.0.settle(settled)),
        timeout(PATIENCE, reader.0.close(Duration::from_millis(500))),
    );
    closed.expect("closing ends");
    drop(settled.expect("settling ends"));
    drop(reader);
    timeout(PATIENCE, broker.close()).await.expect("closing the broker ends");
    admin.ready_becomes(&queue, 3).await;
}

#[tokio::test]
async fn a_deleted_queue_is_an_error_that_names_it() {
    let Some(uri) = server() else { return };
    let (admin, broker) = (Admin::new(&uri).await, connect(config(&uri)).await);
    for (kind, settings) in [("quorum", QUORUM), ("classic", CLASSIC)] {
        let queue = admin.queue(kind, &[]).await;
        let reader = Reader::new(&broker, spec(&queue, settings)).await;
        reader.hears_nothing().await;
        admin.delete(&queue).await;
        let error = reader.fails().await;
        assert!(error.to_string().contains(&queue), "{error}");
        assert!(reader.fails().await.to_string().contains(&queue), "it is told again");
    }
}

#[tokio::test]
async fn a_consumer_timeout_voids_and_delivers_again() {
    // The test server's limit is 30 s, which is long, but only the server's own clock can show it.
    let Some(uri) = server() else { return };
    let (admin, broker) = (Admin::new(&uri).await, connect(config(&uri)).await);
    let queue = admin.queue("quorum", &[]).await;
    publish(&broker, &queue, 2).await;
    let reader = Reader::new(&broker, spec(&queue, QUORUM)).await;
    let taken = reader.take(2).await;
    let voided = timeout(PATIENCE * 2, reader.voided()).await.expect("the broker's consumer timeout");
    assert_eq!(voided, 2);
    assert_eq!(reader.lost(taken, Settlement::Ack).await.len(), 2);
    let mut again = texts(&reader.take_in_the_end(2).await);
    again.sort();
    assert_eq!(again, ["0", "1"]);
}

async fn refusal(uri: &str) -> Error {
    let broker = connect(config(uri)).await;
    timeout(PATIENCE, broker.consumer(spec("orders", QUORUM)))
        .await
        .expect("it hangs")
        .err()
        .expect("it came in")
}

#[tokio::test]
async fn who_may_not_come_in_is_told_what_to_look_at() {
    let Some(uri) = server() else { return };
    let error = refusal(&uri.replace("guest:guest", "guest:geheim")).await;
    assert!(error.class() == Class::Permanent && error.to_string().contains("password"), "{error}");
    assert!(!format!("{error:?}").contains("geheim"), "{error:?}");
    let error = refusal(&uri.replace("%2f", "no-such-host")).await;
    assert!(error.class() == Class::Permanent && error.to_string().contains("virtual host"), "{error}");
}

#[tokio::test]
async fn a_broker_that_is_away_may_come_back() {
    let error = refusal("amqp://guest:guest@127.0.0.1:1/%2f").await;
    assert!(error.is_transient() && error.to_string().contains("127.0.0.1:1"), "{error}");
    let broken = config("amqp://guest:guest@127.0.0.1:1/%2f");
    let broken = RabbitMqConfig { uri: "nonsense".to_owned().into(), ..broken };
    assert!(RabbitMq.connect(broken, &Env::tokio()).await.is_err());
}
