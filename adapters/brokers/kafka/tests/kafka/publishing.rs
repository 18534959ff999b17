//! Writing, and reading back what was written.

use std::collections::BTreeSet;

use bytes::Bytes;
use keylane::Class;
use keylane::broker::Outgoing;
use keylane::env::Timestamp;
use keylane::event::Record;

use crate::cluster::Cluster;
use crate::member::Member;

#[tokio::test]
async fn headers_and_key_pass_through() {
    let Some(cluster) = Cluster::real(1).await else { return };
    let full = Record::new("body")
        .with_key(&b"\x00k\xff"[..])
        .with_header("b", "2")
        .with_header("a", "1")
        .with_header("b", &b"\xfe\x00"[..])
        .with_header("empty", "")
        .with_header("", "nameless");
    let full = Record { time: Some(Timestamp::from_millis(1_234)), ..full };
    let bare = Record { time: Some(Timestamp::from_millis(5)), ..Record::new("") };
    let empty_key = Record { key: Some(Bytes::new()), ..bare.clone() };
    let records = [full, bare, empty_key];
    let publisher = cluster.publisher().await;
    let batch = records.iter().map(|record| cluster.outgoing(record.clone())).collect();
    for (at, result) in publisher.publish(batch).await.into_iter().enumerate() {
        let receipt = result.unwrap();
        assert_eq!((receipt.partition, receipt.offset), (Some(0), Some(at as u64)));
    }
    let member = Member::new(cluster.consumer("g").await, 1);
    member.assigned().await;
    member.start(&[0], 0).await;
    let read: Vec<Record> = member.read(3).await.into_iter().map(|delivery| delivery.record).collect();
    assert_eq!(read, records);
}

#[tokio::test]
async fn headers_can_be_left_unread() {
    let Some(cluster) = Cluster::real(1).await else { return };
    let record = Record::new("body").with_key("k").with_header("a", "1");
    cluster.publisher().await.publish(vec![cluster.outgoing(record)]).await.remove(0).unwrap();
    let consumer = cluster.broker.consumer(cluster.spec("g", "headers = false")).await.unwrap();
    let member = Member::new(consumer, 1);
    member.assigned().await;
    member.start(&[0], 0).await;
    let read = member.read(1).await.remove(0).record;
    assert!(read.headers.is_empty());
    assert_eq!((read.key.as_deref(), &*read.payload), (Some(&b"k"[..]), &b"body"[..]));
}

#[tokio::test]
async fn large_records_and_many_headers_come_whole() {
    let Some(cluster) = Cluster::real(1).await else { return };
    let records: Vec<Record> = (0..60)
        .map(|n: usize| {
            let record = Record::new(vec![b'x'; n * n * 100]).with_key(n.to_string());
            (0..n).fold(record, |record, h| record.with_header(format!("h{h}"), vec![b'v'; h * 10]))
        })
        .map(|record| Record { time: Some(Timestamp::from_millis(1)), ..record })
        .collect();
    let publisher = cluster.publisher().await;
    let batch = records.iter().map(|record| cluster.outgoing(record.clone())).collect();
    publisher.publish(batch).await.into_iter().for_each(|result| assert!(result.is_ok(), "{result:?}"));
    let member = Member::new(cluster.consumer("g").await, 1);
    member.assigned().await;
    member.start(&[0], 0).await;
    let read: Vec<Record> = member.read(60).await.into_iter().map(|delivery| delivery.record).collect();
    assert!(read == records);
}

#[tokio::test]
async fn s8_keys_choose_the_partition_as_javas_clients_do() {
    let Some(cluster) = Cluster::real(7).await else { return };
    // From the tests of Kafka's own `Utils.murmur2`.
    let known =
        [("21", -973_932_308_i32), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536)];
    let batch = known.iter().map(|(key, _)| cluster.outgoing(Record::new("x").with_key(*key))).collect();
    let results = cluster.publisher().await.publish(batch).await;
    for ((key, hash), result) in known.iter().zip(results) {
        let expected = u32::try_from(hash & 0x7fff_ffff).unwrap() % 7;
        assert_eq!(result.unwrap().partition, Some(expected), "{key}");
    }
}

#[tokio::test]
async fn publish_keeps_key_order() {
    let Some(cluster) = Cluster::real(3).await else { return };
    let publisher = cluster.publisher().await;
    let record = |n: u32| cluster.outgoing(Record::new(n.to_string()).with_key((n % 10).to_string()));
    for call in 0..5 {
        let batch = (call * 200..(call + 1) * 200).map(record).collect();
        publisher.publish(batch).await.into_iter().for_each(|result| assert!(result.is_ok(), "{result:?}"));
    }
    let member = Member::new(cluster.consumer("g").await, 1);
    let partitions = member.assigned().await;
    member.start(&partitions, 0).await;
    let read = member.read(1000).await;
    for key in 0..10 {
        let of_key =
            read.iter().filter(|delivery| delivery.record.key.as_deref() == Some(key.to_string().as_bytes()));
        let numbers: Vec<u32> = of_key
            .map(|delivery| std::str::from_utf8(&delivery.record.payload).unwrap().parse().unwrap())
            .collect();
        assert_eq!(numbers, (0..100).map(|n| n * 10 + key).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn publish_to_missing_target_fails() {
    let Some(cluster) = Cluster::real(1).await else { return };
    let missing = format!("{}-missing", cluster.topic);
    let batch = vec![
        cluster.outgoing(Record::new("a")),
        Outgoing { target: missing.clone(), record: Record::new("b") },
        cluster.outgoing(Record::new("c")),
    ];
    let results = cluster.publisher().await.publish(batch).await;
    let error = results[1].as_ref().unwrap_err();
    assert!(error.to_string().contains(&missing) && error.class() == Class::Permanent, "{error}");
    assert!(results[0].is_ok() && results[2].is_ok());
}

#[tokio::test]
async fn publish_too_large_fails_alone() {
    // The topic's limit is below the client's: the broker refuses, and it refuses whole batches.
    let Some(cluster) = Cluster::with(1, &[("max.message.bytes", "200000")]).await else { return };
    let sizes = [10, 300_000, 20, 2_000_000, 30];
    let batch = sizes.iter().map(|size| cluster.outgoing(Record::new(vec![b'x'; *size]))).collect();
    let publisher = cluster.publisher().await;
    let results = publisher.publish(batch).await;
    let failed: BTreeSet<usize> = (0..sizes.len()).filter(|at| results[*at].is_err()).collect();
    assert_eq!(failed, BTreeSet::from([1, 3]), "{results:?}");
    assert!(
        results
            .iter()
            .flat_map(|result| result.as_ref().err())
            .all(|error| error.class() == Class::Permanent)
    );
    let after = publisher.publish(vec![cluster.outgoing(Record::new("after"))]).await;
    assert!(after[0].is_ok(), "the publisher goes on: {after:?}");
    publisher.close().await;
    publisher.close().await;
    assert!(publisher.publish(vec![cluster.outgoing(Record::new("closed"))]).await[0].is_err());
}
