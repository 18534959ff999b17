//! One member: positions, credits, pauses, commits.

use std::task::Poll;
use std::time::Duration;

use keylane::broker::{Base, Pulled, Reset};
use keylane::env::Timestamp;
use keylane::{Class, ErrorKind};
use rdkafka::admin::AdminOptions;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::timeout;

use crate::cluster::{Cluster, PATIENCE, admin, native, numbered};
use crate::member::{Member, by_partition, offsets};

#[tokio::test]
async fn nothing_before_start_and_start_reads_from_position() {
    let Some(cluster) = Cluster::real(1).await else { return };
    cluster.write(0, numbered(0..10)).await;
    let first = Member::new(cluster.consumer("g").await, 1);
    assert_eq!(first.assigned().await, [0]);
    assert!(first.soon(10).await.is_none(), "delivered before start");
    first.start(&[0], 0).await;
    first.read(10).await;
    first.consumer.commit(vec![Base { partition: 0, epoch: 1, offset: 7 }]).await.unwrap();
    first.consumer.close(PATIENCE).await;

    // L2: the broker's committed offset says 7, the position says 4.
    let second = Member::new(cluster.consumer("g").await, 9);
    second.assigned().await;
    second.start(&[0], 4).await;
    let deliveries = second.read(6).await;
    assert_eq!(offsets(&deliveries), [4, 5, 6, 7, 8, 9]);
    assert!(deliveries.iter().all(|delivery| delivery.place.epoch == 9));
}

#[tokio::test]
async fn starting_again_moves_exactly_and_leaves_nothing_old() {
    let Some(cluster) = Cluster::real(1).await else { return };
    cluster.write(0, numbered(0..5000)).await;
    let mut member = Member::new(cluster.consumer("g").await, 1);
    member.assigned().await;
    member.start(&[0], 0).await;
    member.read(10).await;
    member.epoch = 2;
    member.start(&[0], 3).await;
    let deliveries = member.read(4997).await;
    assert_eq!(offsets(&deliveries), (3..5000).collect::<Vec<_>>());
    assert!(deliveries.iter().all(|delivery| delivery.place.epoch == 2));
}

#[tokio::test]
async fn origin_is_earliest_latest_or_a_time() {
    let Some(cluster) = Cluster::real(1).await else { return };
    cluster.write_at(0, Some(1_000), numbered(0..3)).await;
    cluster.write_at(0, Some(2_000), numbered(3..5)).await;
    let origin = async |reset| {
        let consumer =
            cluster.broker.consumer(keylane::broker::ConsumerSpec { reset, ..cluster.spec("g", "") }).await;
        consumer.unwrap().origin(0).await.unwrap()
    };
    assert_eq!(origin(Reset::Earliest).await, 0);
    assert_eq!(origin(Reset::Latest).await, 5);
    assert_eq!(origin(Reset::Time(Timestamp::from_millis(1_000))).await, 0);
    // A microsecond later than the first three.
    assert_eq!(origin(Reset::Time(Timestamp::from_micros(1_000_001))).await, 3);
    assert_eq!(origin(Reset::Time(Timestamp::from_millis(3_000))).await, 5);
}

#[tokio::test]
async fn l2_bounds_say_what_the_log_holds() {
    let Some(cluster) = Cluster::real(3).await else { return };
    cluster.write(1, numbered(0..10)).await;
    delete_before(&cluster, 1, 4).await;
    let consumer = cluster.consumer("g").await;
    let bounds = consumer.bounds(1).await.unwrap();
    assert_eq!((bounds.low, bounds.high, bounds.partitions), (4, 10, 3));
    assert!(bounds.identity.is_some_and(|identity| !identity.is_empty()));
}

#[tokio::test]
async fn l2_an_offset_that_is_gone_is_an_error_never_a_jump() {
    let Some(cluster) = Cluster::real(1).await else { return };
    cluster.write(0, numbered(0..10)).await;
    delete_before(&cluster, 0, 4).await;
    let member = Member::new(cluster.consumer("g").await, 1);
    member.assigned().await;
    member.start(&[0], 2).await;
    for _again in 0..2 {
        let error = member.pull(10).await.unwrap_err();
        assert_eq!((error.kind(), error.class()), (ErrorKind::LogChanged, Class::Permanent), "{error}");
    }
}

#[tokio::test]
async fn pull_never_exceeds_credits_and_keeps_partition_order() {
    let Some(cluster) = Cluster::real(3).await else { return };
    for partition in 0..3 {
        cluster.write(partition, numbered(0..700)).await;
    }
    let member = Member::new(cluster.consumer("g").await, 1);
    let partitions = member.assigned().await;
    member.start(&partitions, 0).await;
    let mut all = Vec::new();
    let mut credits = 1;
    while all.len() < 2100 {
        let Pulled::Deliveries(some) = member.pull(credits).await.unwrap() else { panic!("a change") };
        assert!(!some.is_empty() && some.len() <= credits, "{} for {credits} credits", some.len());
        all.extend(some);
        credits = credits % 13 + 1;
    }
    let expected: Vec<String> = numbered(0..700).collect();
    assert!(by_partition(&all).values().all(|payloads| *payloads == expected));
}

#[tokio::test]
async fn pull_is_cancel_safe() {
    let Some(cluster) = Cluster::real(2).await else { return };
    let member = Member::new(cluster.consumer("g").await, 1);
    let partitions = member.assigned().await;
    member.start(&partitions, 0).await;
    let write = async {
        for partition in 0..2 {
            cluster.write(partition, numbered(0..1000)).await;
        }
    };
    let read = async {
        let (mut all, mut dropped) = (Vec::new(), 0);
        while all.len() < 2000 {
            // Dropped at its first await, unless something is there.
            let polled = futures_util::poll!(std::pin::pin!(member.consumer.pull(7)));
            match polled {
                Poll::Ready(Ok(Pulled::Deliveries(some))) => all.extend(some),
                Poll::Ready(other) => panic!("{other:?}"),
                Poll::Pending => {
                    dropped += 1;
                    tokio::task::yield_now().await;
                }
            }
        }
        (all, dropped)
    };
    let ((), (all, dropped)) = tokio::join!(write, read);
    assert!(dropped > 0, "nothing was cancelled");
    let expected: Vec<String> = numbered(0..1000).collect();
    assert!(by_partition(&all).values().all(|payloads| *payloads == expected));
}

#[tokio::test]
async fn pause_stops_only_its_partition() {
    let Some(cluster) = Cluster::real(2).await else { return };
    let member = Member::new(cluster.consumer("g").await, 1);
    let partitions = member.assigned().await;
    member.start(&partitions, 0).await;
    member.consumer.pause(Some(&[0]));
    for partition in 0..2 {
        cluster.write(partition, numbered(0..300)).await;
    }
    assert!(member.read(300).await.iter().all(|delivery| delivery.place.partition == 1));
    assert!(member.soon(1000).await.is_none(), "a paused partition was delivered");
    member.consumer.resume(Some(&[0]));
    let deliveries = member.read(300).await;
    assert_eq!(by_partition(&deliveries)[&0], numbered(0..300).collect::<Vec<_>>());

    member.consumer.pause(None);
    cluster.write(1, numbered(300..310)).await;
    assert!(member.soon(1000).await.is_none(), "delivered while all was paused");
    member.consumer.resume(None);
    assert_eq!(member.read(10).await.len(), 10);
}

#[tokio::test]
async fn a_paused_partition_is_not_held_in_memory_and_comes_back_whole() {
    let Some(cluster) = Cluster::real(2).await else { return };
    // 4 MB of each partition against 256 KiB read ahead: librdkafka itself has to be stopped.
    let spec = keylane::broker::ConsumerSpec { prefetch_bytes_max: 256 << 10, ..cluster.spec("g", "") };
    let member = Member::new(cluster.broker.consumer(spec).await.unwrap(), 1);
    let partitions = member.assigned().await;
    let text = |n: u32| format!("{n:01000}");
    for partition in 0..2 {
        cluster.write(partition, (0..4000).map(text)).await;
    }
    member.consumer.pause(Some(&[0]));
    member.start(&partitions, 0).await;
    assert!(member.read(4000).await.iter().all(|delivery| delivery.place.partition == 1));
    member.consumer.resume(Some(&[0]));
    let deliveries = member.read(4000).await;
    assert_eq!(by_partition(&deliveries)[&0], (0..4000).map(text).collect::<Vec<_>>());
}

#[tokio::test]
async fn saturated_for_longer_than_the_poll_interval_and_still_in_the_group() {
    let Some(cluster) = Cluster::real(1).await else { return };
    let spec = cluster.spec("g", "session = '6s'\npoll_interval_max = '6s'\nrevoke_max = '1s'");
    let spec = keylane::broker::ConsumerSpec { prefetch_bytes_max: 64 << 10, ..spec };
    let member = Member::new(cluster.broker.consumer(spec).await.unwrap(), 1);
    cluster.write(0, (0..3000).map(|n| format!("{n:0200}"))).await;
    member.assigned().await;
    member.start(&[0], 0).await;
    // No credits: only a change could come, and there must be none.
    let left = timeout(Duration::from_secs(9), member.consumer.pull(0)).await;
    assert!(left.is_err(), "{left:?}");
    assert_eq!(offsets(&member.read(3000).await), (0..3000).collect::<Vec<_>>());
    member.consumer.commit(vec![Base { partition: 0, epoch: 1, offset: 3000 }]).await.unwrap();
    assert_eq!(cluster.committed("g", 0).await, Some(3000));
}

#[tokio::test]
async fn settled_is_not_redelivered_and_stale_settle_is_harmless() {
    let Some(cluster) = Cluster::real(2).await else { return };
    cluster.write(0, numbered(0..10)).await;
    let member = Member::new(cluster.consumer("g").await, 5);
    let partitions = member.assigned().await;
    member.start(&partitions, 0).await;
    member.read(10).await;
    let commit = async |partition, epoch, offset| {
        member.consumer.commit(vec![Base { partition, epoch, offset }]).await.unwrap();
    };
    // The base is the next offset, and so is what the broker keeps.
    commit(0, 5, 6).await;
    assert_eq!(cluster.committed("g", 0).await, Some(6));
    commit(0, 4, 9).await;
    commit(7, 5, 9).await;
    assert_eq!(cluster.committed("g", 0).await, Some(6));
    assert_eq!(cluster.committed("g", 1).await, None);
    commit(0, 5, 10).await;
    assert_eq!(cluster.committed("g", 0).await, Some(10));
}

#[tokio::test]
async fn gaps_of_transactions_are_no_records_and_aborted_ones_are_not_read() {
    let Some(cluster) = Cluster::real(1).await else { return };
    let (servers, topic) = (cluster.servers.clone(), cluster.topic.to_string());
    let write = move || {
        let producer: BaseProducer = native(&servers).set("transactional.id", &topic).create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        for (payload, commit) in [("kept", true), ("aborted", false), ("kept as well", true)] {
            producer.begin_transaction().unwrap();
            let record = BaseRecord::<str, str>::to(&topic).partition(0).payload(payload);
            producer.send(record).map_err(|(error, _)| error).unwrap();
            producer.flush(PATIENCE).unwrap();
            if commit {
                producer.commit_transaction(PATIENCE).unwrap();
            } else {
                producer.abort_transaction(PATIENCE).unwrap();
            }
        }
    };
    tokio::task::spawn_blocking(write).await.unwrap();
    let member = Member::new(cluster.consumer("g").await, 1);
    member.assigned().await;
    member.start(&[0], 0).await;
    let deliveries = member.read(2).await;
    assert_eq!(by_partition(&deliveries)[&0], ["kept", "kept as well"]);
    assert_eq!(offsets(&deliveries), [0, 4]);
}

#[tokio::test]
async fn unknown_source_is_refused() {
    let Some(cluster) = Cluster::real(1).await else { return };
    let missing = format!("{}-missing", cluster.topic);
    let spec = keylane::broker::ConsumerSpec { source: missing.as_str().into(), ..cluster.spec("g", "") };
    let error = cluster.broker.consumer(spec).await.err().expect("a missing topic was accepted");
    assert_eq!(error.class(), Class::Permanent);
    assert!(error.to_string().contains(&missing), "{error}");
}

#[tokio::test]
async fn a_deleted_topic_is_an_error_never_silence() {
    let Some(cluster) = Cluster::real(1).await else { return };
    let broker_config = keylane_kafka::KafkaConfig {
        properties: [
            ("topic.metadata.refresh.interval.ms".to_owned(), "500".to_owned()),
            ("topic.metadata.propagation.max.ms".to_owned(), "500".to_owned()),
        ]
        .into(),
        ..crate::cluster::config(&cluster.servers)
    };
    let broker = crate::cluster::connect(broker_config).await;
    let member = Member::new(broker.consumer(cluster.spec("g", "")).await.unwrap(), 1);
    member.assigned().await;
    member.start(&[0], 0).await;
    let deleted = admin(&cluster.servers).delete_topics(&[&cluster.topic], &AdminOptions::new()).await;
    deleted.unwrap().into_iter().for_each(|deleted| drop(deleted.unwrap()));
    let error = loop {
        match member.pull(10).await {
            Ok(Pulled::Change(_)) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.class(), Class::Permanent);
    assert!(error.to_string().contains(&*cluster.topic), "{error}");
}

async fn delete_before(cluster: &Cluster, partition: i32, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&cluster.topic, partition, Offset::Offset(offset)).unwrap();
    admin(&cluster.servers).delete_records(&list, &AdminOptions::new()).await.unwrap();
}
