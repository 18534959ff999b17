//! Reading from positions, without a group.

use keylane::ErrorKind;
use keylane_log::{LogConfig, Position, Replayed};

use crate::fixture::*;

/// The same positions give the same records in the same order, wherever and whenever they are read, and
/// whatever was appended since.
#[tokio::test]
async fn the_same_positions_give_the_same_records_on_any_node() {
    let file = File::new();
    let (here, there) = (file.open(config(3)).await, file.open(config(3)).await);
    for round in 0..10 {
        let log = if round % 2 == 0 { &here } else { &there };
        let batch = (0..30).map(|n| to(["a", "b"][n % 2], &format!("k{n}"), round * 100 + n)).collect();
        publish_all(log, batch).await;
    }
    let positions: Vec<Position> = ["a", "b"]
        .iter()
        .flat_map(|s| (0..3).map(|partition| Position { stream: (*s).into(), partition, offset: 4 }))
        .collect();
    let first = here.read(&positions, 20).await.unwrap();
    publish_all(&here, (0..30).map(|n| to("a", &format!("k{n}"), n)).collect()).await;
    let second = there.read(&positions, 20).await.unwrap();
    assert_eq!(first, second);
    for (position, replayed) in positions.iter().zip(&first) {
        let offsets: Vec<u64> = replayed.records.iter().map(|(place, _)| place.offset).collect();
        assert_eq!(offsets, (4..replayed.next.offset).collect::<Vec<_>>());
        assert_eq!(replayed.next.stream, position.stream);
    }
    // In small steps it is the same as in a large one.
    let mut steps: Vec<Replayed> =
        positions.iter().map(|position| Replayed { records: Vec::new(), next: position.clone() }).collect();
    for _ in 0..20 {
        let from: Vec<Position> = steps.iter().map(|step| step.next.clone()).collect();
        for (step, more) in steps.iter_mut().zip(there.read(&from, 1).await.unwrap()) {
            step.records.extend(more.records);
            step.next = more.next;
        }
    }
    assert_eq!(steps, first);
}

#[tokio::test]
async fn from_a_time_on() {
    let file = File::new();
    let log = file.open(config(2)).await;
    publish_all(&log, (0..10).map(|n| to("s", &n.to_string(), n)).collect()).await;
    let before = file.env.wall();
    while file.env.wall() <= before {
        tokio::task::yield_now().await;
    }
    let since = file.env.wall();
    publish_all(&log, (10..30).map(|n| to("s", &n.to_string(), n)).collect()).await;
    let positions = log.positions_at("s", since).await.unwrap();
    let replayed = log.read(&positions, 100).await.unwrap();
    let mut numbers: Vec<u32> = replayed
        .iter()
        .flat_map(|r| &r.records)
        .map(|(_, record)| std::str::from_utf8(&record.payload).unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (10..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let file = File::new();
    let log = file.open(LogConfig { keep_records: Some(1), ..config(1) }).await;
    for n in 0..5 {
        publish_all(&log, vec![to("s", "k", n)]).await;
    }
    log.sweep().await.unwrap();
    let at = |stream: &str, partition, offset| [Position { stream: stream.into(), partition, offset }];
    assert_eq!(log.read(&at("s", 0, 1), 9).await.unwrap_err().kind(), ErrorKind::LogChanged);
    assert!(log.read(&at("s", 1, 0), 9).await.unwrap_err().to_string().contains("no partition 1"));
    assert!(log.read(&at("away", 0, 0), 9).await.unwrap_err().to_string().contains("`away`"));
    assert_eq!(log.read(&at("s", 0, 9), 9).await.unwrap()[0].records, []);
}
