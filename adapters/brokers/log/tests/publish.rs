//! What a publisher promises.

use keylane::broker::{Broker, Outgoing};
use keylane::config::Size;
use keylane::event::Record;
use keylane::{Class, ErrorKind};
use keylane_log::{LogConfig, partition_of};

use crate::fixture::*;

#[tokio::test]
async fn offsets_are_dense_and_a_key_stays_in_its_partition() {
    let file = File::new();
    let log = file.open(config(4)).await;
    let batch = (0..100).map(|n| to("orders", &format!("key-{}", n % 10), n)).collect();
    let places = publish_all(&log, batch).await;
    for (n, (partition, _)) in places.iter().enumerate() {
        assert_eq!(*partition, partition_of(format!("key-{}", n % 10).as_bytes(), some(4)));
    }
    for partition in 0..4 {
        let offsets: Vec<u64> = places.iter().filter(|(p, _)| *p == partition).map(|(_, o)| *o).collect();
        assert_eq!(offsets, (0..offsets.len() as u64).collect::<Vec<_>>());
        assert_eq!(log.bounds("orders").await.unwrap()[partition as usize].high, offsets.len() as u64);
    }
}

#[tokio::test]
async fn keyless_records_go_to_all_partitions() {
    let file = File::new();
    let log = file.open(config(4)).await;
    let batch = (0..8).map(|n| Outgoing { target: "s".into(), record: Record::new(n.to_string()) }).collect();
    let mut partitions: Vec<_> = publish_all(&log, batch).await.into_iter().map(|(p, _)| p).collect();
    partitions.sort_unstable();
    assert_eq!(partitions, [0, 0, 1, 1, 2, 2, 3, 3]);
}

#[tokio::test]
async fn concurrent_publishers_share_transactions_and_each_gets_its_own_answer() {
    let file = File::new();
    let log = file.open(config(1)).await;
    let publisher = log.publisher().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..50 {
        let publisher = publisher.clone();
        tasks.spawn(async move { (n, publisher.publish(vec![to("s", "k", n)]).await) });
    }
    let mut offsets = vec![None; 50];
    while let Some(done) = tasks.join_next().await {
        let (n, results) = done.unwrap();
        offsets[usize::try_from(results[0].as_ref().unwrap().offset.unwrap()).unwrap()] = Some(n);
    }
    let consumer = reader(&log, spec("s", "g")).await;
    let read: Vec<usize> = take(&consumer, 50, 50).await.iter().map(|d| text(d).parse().unwrap()).collect();
    assert_eq!(read, offsets.into_iter().map(|n: Option<usize>| n.unwrap()).collect::<Vec<_>>());
}

#[tokio::test]
async fn publish_too_large_fails_alone() {
    let file = File::new();
    let log = file.open(LogConfig { record_max: Size::b(100), ..config(1) }).await;
    // By the payload alone, and only with what belongs to it.
    let mut headed = to("s", "k", "b".repeat(50));
    headed.record = headed.record.with_header("name", vec![b'v'; 50]);
    let batch = vec![to("s", "k", "a"), to("s", "k", "b".repeat(101)), headed, to("s", "k", "c")];
    let results = publish(&log, batch).await;
    assert_eq!(results[0].as_ref().unwrap().offset, Some(0));
    assert_eq!(results[3].as_ref().unwrap().offset, Some(1));
    for result in &results[1..3] {
        let error = result.as_ref().unwrap_err();
        assert_eq!((error.kind(), error.class()), (ErrorKind::Broker, Class::Permanent));
        assert!(error.to_string().contains("record_max"), "{error}");
    }
}

#[tokio::test]
async fn publish_to_missing_target_fails() {
    let file = File::new();
    let log =
        file.open(LogConfig { create_streams: false, streams: vec!["there".into()], ..config(1) }).await;
    let results = publish(&log, vec![to("away", "k", 1), to("there", "k", 2)]).await;
    let error = results[0].as_ref().unwrap_err();
    assert!(error.to_string().contains("`away`"), "{error}");
    assert_eq!(error.class(), Class::Permanent);
    assert!(results[1].is_ok());
    assert_eq!(log.stream_names().await.unwrap(), ["there"]);
}

#[tokio::test]
async fn a_stream_that_was_deleted_elsewhere_is_made_anew_under_another_identity() {
    let file = File::new();
    let (here, there) = (file.open(config(2)).await, file.open(config(2)).await);
    publish_all(&here, vec![to("s", "k", 1)]).await;
    let before = here.bounds("s").await.unwrap()[0].identity.clone();
    assert!(there.delete_stream("s").await.unwrap());
    let places = publish_all(&here, vec![to("s", "k", 2)]).await;
    assert_eq!(places[0].1, 0);
    assert_ne!(here.bounds("s").await.unwrap()[0].identity, before);
}

#[tokio::test]
async fn a_closed_publisher_and_a_closed_log_say_so() {
    let file = File::new();
    let log = file.open(config(1)).await;
    let (one, other) = (log.publisher().await.unwrap(), log.publisher().await.unwrap());
    one.close().await;
    one.close().await;
    assert_eq!(one.publish(vec![to("s", "k", 1)]).await[0].as_ref().unwrap_err().kind(), ErrorKind::Closed);
    assert!(other.publish(vec![to("s", "k", 1)]).await[0].is_ok());
    log.close().await;
    assert_eq!(other.publish(vec![to("s", "k", 1)]).await[0].as_ref().unwrap_err().kind(), ErrorKind::Closed);
    assert!(log.publisher().await.is_err());
}

#[tokio::test]
async fn names_that_no_stream_can_have_are_refused() {
    let file = File::new();
    let log = file.open(config(1)).await;
    for name in ["", "a\nb", &"x".repeat(251)] {
        let error = publish(&log, vec![to(name, "k", 1)]).await.remove(0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{name:?}");
    }
}

#[tokio::test]
async fn more_than_a_transaction_holds_keeps_its_order() {
    let file = File::new();
    let log = file.open(config(1)).await;
    let size = 700 * 1024;
    let batch: Vec<_> = (0..9).map(|n| to("s", "k", n.to_string().repeat(size))).collect();
    let offsets: Vec<u64> = publish_all(&log, batch).await.into_iter().map(|(_, offset)| offset).collect();
    assert_eq!(offsets, (0..9).collect::<Vec<_>>());
    let consumer = reader(&log, spec("s", "g")).await;
    for (n, delivery) in take(&consumer, 9, 9).await.iter().enumerate() {
        assert_eq!(text(delivery), n.to_string().repeat(size));
    }
}
