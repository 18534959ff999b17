//! What a consumer promises, short of its group.

use keylane::broker::{Base, Broker, ConsumerSpec, Pulled, Reset, Start};
use keylane::config::Period;
use keylane::env::Timestamp;
use keylane::event::Record;
use keylane::{Class, ErrorKind};
use keylane_log::LogConfig;

use crate::fixture::*;
use crate::freezer::Freezer;

#[tokio::test]
async fn pull_keeps_partition_order_and_credits() {
    let file = File::new();
    let log = file.open(config(4)).await;
    // Chunks of different sizes: many publishes of a few records each.
    for round in 0..20 {
        let batch = (0..25).map(|n| to("s", &format!("k{n}"), round * 25 + n)).collect();
        publish_all(&log, batch).await;
    }
    let consumer = reader(&log, spec("s", "g")).await;
    let mut next = [0; 4];
    for delivery in take(&consumer, 500, 7).await {
        let partition = delivery.place.partition as usize;
        assert_eq!(delivery.place.offset, next[partition]);
        assert_eq!(delivery.place.epoch, 1);
        next[partition] += 1;
    }
    assert_eq!(next.iter().sum::<u64>(), 500);
}

#[tokio::test]
async fn headers_and_key_pass_through() {
    let file = File::new();
    let log = file.open(config(1)).await;
    let record = Record::new(vec![0xff, 0x00])
        .with_key(vec![0xfe, 0x00])
        .with_header("b", "1")
        .with_header("a", vec![0xff])
        .with_header("b", "");
    let empty = Record::new("").with_key("");
    let plain = Record::new("x");
    let batch = [&record, &empty, &plain]
        .map(|record| keylane::broker::Outgoing { target: "s".into(), record: record.clone() });
    publish_all(&log, batch.into()).await;
    let consumer = reader(&log, spec("s", "g")).await;
    let deliveries = take(&consumer, 3, 3).await;
    for (delivery, sent) in deliveries.iter().zip([record, empty, plain]) {
        assert!(delivery.record.time.is_some());
        assert_eq!(Record { time: None, ..delivery.record.clone() }, sent);
    }
}

#[tokio::test]
async fn start_reads_from_position() {
    let file = File::new();
    let log = file.open(config(1)).await;
    publish_all(&log, (0..100).map(|n| to("s", "k", n)).collect()).await;
    publish_all(&log, (100..120).map(|n| to("s", "k", n)).collect()).await;
    let consumer = log.consumer(spec("s", "g")).await.unwrap();
    assert_eq!(assigned(&consumer).await, [0]);
    for (offset, epoch) in [37, 0, 99, 100, 119].into_iter().zip(1..) {
        consumer.start(vec![Start { partition: 0, offset, epoch }]).await.unwrap();
        let delivery = take(&consumer, 1, 1).await.remove(0);
        assert_eq!((delivery.place.offset, delivery.place.epoch), (offset, epoch));
        assert_eq!(text(&delivery), offset.to_string());
    }
}

#[tokio::test]
async fn nothing_before_start() {
    let file = File::new();
    let log = file.open(config(2)).await;
    publish_all(&log, (0..20).map(|n| to("s", &n.to_string(), n)).collect()).await;
    let consumer = log.consumer(spec("s", "g")).await.unwrap();
    assert_eq!(assigned(&consumer).await, [0, 1]);
    assert!(nothing_to_pull(&consumer).await);
    consumer.start(vec![Start { partition: 1, offset: 0, epoch: 5 }]).await.unwrap();
    let count = usize::try_from(consumer.bounds(1).await.unwrap().high).unwrap();
    assert!(take(&consumer, count, 100).await.iter().all(|d| (d.place.partition, d.place.epoch) == (1, 5)));
    assert!(nothing_to_pull(&consumer).await);
}

#[tokio::test]
async fn pull_is_cancel_safe() {
    let file = File::new();
    let log = file.open(config(4)).await;
    publish_all(&log, (0..400).map(|n| to("s", &n.to_string(), n)).collect()).await;
    let consumer = reader(&log, spec("s", "g")).await;
    let mut seen = Vec::new();
    while seen.len() < 400 {
        // Polled a few times and dropped, again and again, at whatever await it happens to be.
        for polls in 0..6 {
            let mut pull = consumer.pull(9);
            for _ in 0..polls {
                if let Some(Ok(Pulled::Deliveries(got))) = futures_now(&mut pull).await {
                    seen.extend(got.iter().map(|d| (d.place.partition, d.place.offset)));
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        seen.extend(
            take(&consumer, 1.min(400 - seen.len()), 1)
                .await
                .iter()
                .map(|d| (d.place.partition, d.place.offset)),
        );
    }
    let mut ordered = seen.clone();
    ordered.sort_unstable();
    ordered.dedup();
    assert_eq!(ordered.len(), 400);
    for partition in 0..4 {
        let of: Vec<_> = seen.iter().filter(|(p, _)| *p == partition).map(|(_, o)| *o).collect();
        assert!(of.is_sorted(), "{of:?}");
    }
}

/// One poll.
async fn futures_now<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn an_append_wakes_a_waiting_pull_here_and_in_another_process() {
    let file = File::new();
    let (here, there) = (file.open(config(1)).await, file.open(config(1)).await);
    here.create_stream("s", some(1)).await.unwrap();
    let consumer = reader(&here, spec("s", "g")).await;
    for n in 0..20 {
        let log = if n % 2 == 0 { &here } else { &there };
        let (deliveries, _) = tokio::join!(take(&consumer, 1, 1), publish_all(log, vec![to("s", "k", n)]));
        assert_eq!(text(&deliveries[0]), n.to_string());
    }
}

/// With every timer standing still, only the commit itself can end the wait.
#[tokio::test]
async fn an_append_of_this_process_is_seen_without_a_timer() {
    let file = File::new();
    let freezer = Freezer::new();
    let log = file.open_in(&freezer.env(), config(1)).await;
    log.create_stream("s", some(1)).await.unwrap();
    let consumer = reader(&log, spec("s", "g")).await;
    freezer.freeze(true);
    for n in 0..10 {
        let publishing = async {
            tokio::task::yield_now().await;
            publish_all(&log, vec![to("s", "k", n)]).await
        };
        let (deliveries, _) = tokio::join!(take(&consumer, 1, 1), publishing);
        assert_eq!(text(&deliveries[0]), n.to_string());
    }
}

#[tokio::test]
async fn a_partition_that_is_started_anew_is_not_paused_any_more_unless_all_are() {
    let file = File::new();
    let log = file.open(config(1)).await;
    publish_all(&log, (0..3).map(|n| to("s", "k", n)).collect()).await;
    let consumer = reader(&log, spec("s", "g")).await;
    let start = |epoch| vec![Start { partition: 0, offset: 0, epoch }];
    consumer.pause(Some(&[0]));
    consumer.start(start(2)).await.unwrap();
    assert_eq!(take(&consumer, 3, 3).await[0].place.epoch, 2);
    consumer.pause(None);
    consumer.start(start(3)).await.unwrap();
    assert!(nothing_to_pull(&consumer).await);
    consumer.resume(None);
    assert_eq!(take(&consumer, 3, 3).await[0].place.epoch, 3);
}

#[tokio::test]
async fn pause_stops_only_its_partition() {
    let file = File::new();
    let log = file.open(config(2)).await;
    log.create_stream("s", some(2)).await.unwrap();
    let consumer = reader(&log, spec("s", "g")).await;
    consumer.pause(Some(&[0]));
    let places = publish_all(&log, (0..40).map(|n| to("s", &n.to_string(), n)).collect()).await;
    let of = |partition| places.iter().filter(|(p, _)| *p == partition).count();
    assert!(take(&consumer, of(1), 100).await.iter().all(|d| d.place.partition == 1));
    assert!(nothing_to_pull(&consumer).await);
    consumer.resume(None);
    assert!(take(&consumer, of(0), 100).await.iter().all(|d| d.place.partition == 0));
}

/// By producers' times, which come in any order, whether the records share a row or not.
#[tokio::test]
async fn a_new_group_begins_where_its_reset_says() {
    let file = File::new();
    let log = file.open(config(1)).await;
    let second = |n: i64| Timestamp::from_millis(n * 1000);
    let timed = |stream: &str, n| {
        let mut outgoing = to(stream, "k", n);
        outgoing.record.time = Some(second(n));
        outgoing
    };
    let times = [10, 30, 20, 40, 15];
    publish_all(&log, times.map(|n| timed("together", n)).into()).await;
    for n in times {
        publish_all(&log, vec![timed("apart", n)]).await;
    }
    for source in ["together", "apart"] {
        for (reset, offset) in [
            (Reset::Earliest, 0),
            (Reset::Latest, 5),
            (Reset::Time(second(0)), 0),
            (Reset::Time(second(11)), 1),
            (Reset::Time(second(20)), 1),
            (Reset::Time(second(30)), 1),
            (Reset::Time(second(31)), 3),
            (Reset::Time(second(41)), 5),
        ] {
            let consumer = log.consumer(ConsumerSpec { reset, ..spec(source, "b") }).await.unwrap();
            assert_eq!(consumer.origin(0).await.unwrap(), offset, "{source} {reset:?}");
        }
    }
}

#[tokio::test]
async fn unknown_source_is_refused() {
    let file = File::new();
    let log = file.open(config(1)).await;
    let error = log.consumer(spec("away", "g")).await.err().unwrap();
    assert!(error.to_string().contains("`away`"), "{error}");
    assert_eq!(error.class(), Class::Permanent);
}

#[tokio::test]
async fn a_deleted_stream_is_an_error_never_silence() {
    let file = File::new();
    let (here, there) = (file.open(config(1)).await, file.open(config(1)).await);
    here.create_stream("s", some(1)).await.unwrap();
    let consumer = reader(&here, spec("s", "g")).await;
    there.delete_stream("s").await.unwrap();
    there.create_stream("s", some(1)).await.unwrap();
    let error = pull(&consumer, 1).await.unwrap_err();
    assert_eq!(error.class(), Class::Permanent);
    assert!(error.to_string().contains("deleted"), "{error}");
    assert!(consumer.bounds(0).await.is_err());
}

#[tokio::test]
async fn committed_bases_only_grow_and_stale_ones_change_nothing() {
    let file = File::new();
    let log = file.open(config(1)).await;
    publish_all(&log, (0..9).map(|n| to("s", "k", n)).collect()).await;
    let base = |epoch, offset| Base { partition: 0, epoch, offset };
    for (started, commits, expected) in [
        (3, vec![base(3, 4), base(3, 2), base(2, 9)], 4),
        // Nothing of a stale owner, nothing below.
        (3, vec![base(3, 3), base(4, 9)], 4),
        // A later owner may have been rewound by an operator.
        (5, vec![base(5, 1)], 1),
        (4, vec![base(4, 8)], 1),
    ] {
        let consumer = log.consumer(spec("s", "g")).await.unwrap();
        assert_eq!(assigned(&consumer).await, [0]);
        consumer.start(vec![Start { partition: 0, offset: 0, epoch: started }]).await.unwrap();
        for commit in commits {
            consumer.commit(vec![commit]).await.unwrap();
        }
        consumer.close(PATIENCE).await;
        assert_eq!(log.group_positions("s", "g").await.unwrap(), [(0, expected)]);
    }
}

#[tokio::test]
async fn a_closed_consumer_says_so_and_its_partitions_are_free_at_once() {
    let file = File::new();
    // Nobody waits for an expiry here.
    let log = file.open(LogConfig { member_expiry: Period::secs(3600), ..config(3) }).await;
    log.create_stream("s", some(3)).await.unwrap();
    let first = reader(&log, spec("s", "g")).await;
    let (error, ()) = tokio::join!(pull(&first, 1), first.close(PATIENCE));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Closed);
    let second = log.consumer(spec("s", "g")).await.unwrap();
    assert_eq!(assigned(&second).await, [0, 1, 2]);
}
