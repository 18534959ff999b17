//! Sharing a stream among the members of a group, across processes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keylane::Env;
use keylane::broker::{Base, Broker, Consumer, Partition, Start};
use keylane::config::Period;
use keylane_log::LogConfig;

use crate::fixture::*;
use crate::freezer::Freezer;

fn set(partitions: &[Partition]) -> BTreeSet<Partition> {
    partitions.iter().copied().collect()
}

async fn start_all(consumer: &Arc<dyn Consumer>, partitions: &[Partition], epoch: u64) {
    let starts = partitions.iter().map(|p| Start { partition: *p, offset: 0, epoch });
    consumer.start(starts.collect()).await.unwrap();
}

#[tokio::test]
async fn revoking_waits_for_handback() {
    let file = File::new();
    let (here, there) = (file.open(config(4)).await, file.open(config(4)).await);
    publish_all(&here, (0..40).map(|n| to("s", &n.to_string(), n)).collect()).await;
    let first = here.consumer(spec("s", "g")).await.unwrap();
    start_all(&first, &assigned(&first).await, 1).await;
    take(&first, 40, 100).await;
    let second = there.consumer(spec("s", "g")).await.unwrap();
    let (moving, handback) = revoking(&first).await;
    assert_eq!(moving, [2, 3]);
    assert!(nothing_to_pull(&second).await, "assigned before the handback");
    handback.done(vec![
        Base { partition: 2, epoch: 1, offset: 1 },
        Base { partition: 3, epoch: 9, offset: 7 },
        Base { partition: 0, epoch: 1, offset: 5 },
    ]);
    assert_eq!(assigned(&second).await, [2, 3]);
    // Only what was handed back, and only under its own epoch.
    assert_eq!(here.group_positions("s", "g").await.unwrap(), [(2, 1)]);
    // What moved is not delivered here any more, the rest is.
    publish_all(&there, (0..40).map(|n| to("s", &n.to_string(), n)).collect()).await;
    let expected: u64 = here.bounds("s").await.unwrap()[..2].iter().map(|b| b.high).sum::<u64>() / 2;
    let got = take(&first, usize::try_from(expected).unwrap(), 100).await;
    assert!(got.iter().all(|d| d.place.partition < 2));
    assert!(nothing_to_pull(&first).await);
}

#[tokio::test]
async fn a_handback_that_never_comes_has_its_limit() {
    let file = File::new();
    let config = LogConfig { handback_max: Period::millis(200), ..config(2) };
    let (here, there) = (file.open(config.clone()).await, file.open(config).await);
    here.create_stream("s", some(2)).await.unwrap();
    let first = here.consumer(spec("s", "g")).await.unwrap();
    start_all(&first, &assigned(&first).await, 1).await;
    let second = there.consumer(spec("s", "g")).await.unwrap();
    let (moving, handback) = revoking(&first).await;
    assert_eq!(assigned(&second).await, moving);
    assert_eq!(lost(&first).await, moving);
    handback.done(vec![Base { partition: moving[0], epoch: 1, offset: 9 }]);
    first.close(PATIENCE).await;
    assert_eq!(here.group_positions("s", "g").await.unwrap(), [], "a base came through after the loss");
}

#[tokio::test]
async fn three_members_share_and_the_last_one_gets_all_back() {
    let file = File::new();
    let log = file.open(config(7)).await;
    log.create_stream("s", some(7)).await.unwrap();
    let mut members: Vec<Member> = Vec::new();
    for _ in 0..3 {
        members.push(Member::join(&log).await);
        settle(&mut members).await;
    }
    let mut counts: Vec<usize> = members.iter().map(|m| m.owned.len()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [2, 2, 3]);
    while members.len() > 1 {
        members.remove(0).consumer.close(PATIENCE).await;
        settle(&mut members).await;
    }
    assert_eq!(members[0].owned.len(), 7);
}

struct Member {
    consumer: Arc<dyn Consumer>,
    owned: BTreeSet<Partition>,
}

impl Member {
    async fn join(log: &keylane_log::LogBroker) -> Self {
        Self { consumer: log.consumer(spec("s", "g")).await.unwrap(), owned: BTreeSet::new() }
    }

    /// Follows one change, if there is one now.
    async fn follow(&mut self) {
        use keylane::broker::{Change, Pulled};
        let Ok(pulled) = tokio::time::timeout(Duration::from_millis(50), self.consumer.pull(0)).await else {
            return;
        };
        match pulled.unwrap() {
            Pulled::Change(Change::Assigned(partitions)) => self.owned.extend(partitions),
            Pulled::Change(Change::Revoking { partitions, handback }) => {
                self.owned.retain(|p| !partitions.contains(p));
                handback.done(Vec::new());
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Until every partition is someone's, exactly once, in fair shares.
async fn settle(members: &mut [Member]) {
    let fair = |members: &[Member]| {
        let least = 7 / members.len();
        let all: Vec<Partition> = members.iter().flat_map(|m| m.owned.iter().copied()).collect();
        assert_eq!(all.len(), set(&all).len(), "one partition, two owners");
        all.len() == 7 && members.iter().all(|m| m.owned.len() >= least)
    };
    let settled = async {
        while !fair(members) {
            for member in &mut *members {
                member.follow().await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.unwrap();
}

#[tokio::test]
async fn a_dead_members_partitions_move_within_its_expiry() {
    let file = File::new();
    let config = LogConfig { member_expiry: Period::secs(1), ..config(4) };
    let doomed = Env::tokio();
    let (here, there) = (file.open_in(&doomed, config.clone()).await, file.open(config).await);
    here.create_stream("s", some(4)).await.unwrap();
    let dead = here.consumer(spec("s", "g")).await.unwrap();
    assert_eq!(assigned(&dead).await, [0, 1, 2, 3]);
    doomed.abandon();
    let heir = there.consumer(spec("s", "g")).await.unwrap();
    assert_eq!(assigned(&heir).await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn s4_a_member_that_was_stopped_beyond_its_expiry_has_lost_all_and_joins_anew() {
    let file = File::new();
    let config = LogConfig { member_expiry: Period::secs(1), ..config(4) };
    let freezer = Freezer::new();
    let (here, there) = (file.open_in(&freezer.env(), config.clone()).await, file.open(config).await);
    publish_all(&there, (0..40).map(|n| to("s", &n.to_string(), n)).collect()).await;
    let stopped = here.consumer(spec("s", "g")).await.unwrap();
    let mine = assigned(&stopped).await;
    start_all(&stopped, &mine, 1).await;
    take(&stopped, 40, 100).await;
    freezer.freeze(true);
    let heir = there.consumer(spec("s", "g")).await.unwrap();
    assert_eq!(set(&assigned(&heir).await), set(&mine));
    freezer.freeze(false);
    assert_eq!(set(&lost(&stopped).await), set(&mine));
    let (moving, handback) = revoking(&heir).await;
    handback.done(Vec::new());
    assert_eq!(assigned(&stopped).await, moving);
    // Not delivered under the old start.
    assert!(nothing_to_pull(&stopped).await);
}

#[tokio::test]
async fn a_member_that_nobody_polls_stays_in_its_group() {
    let file = File::new();
    let config = LogConfig { member_expiry: Period::secs(1), ..config(2) };
    let (here, there) = (file.open(config.clone()).await, file.open(config).await);
    here.create_stream("s", some(2)).await.unwrap();
    let idle = reader(&here, spec("s", "g")).await;
    idle.pause(None);
    let other = there.consumer(spec("s", "g")).await.unwrap();
    // Longer than the expiry, with nobody pulling: the other gets nothing, since nobody handed anything back.
    tokio::time::timeout(Duration::from_secs(3), other.pull(1)).await.unwrap_err();
    let (moving, _) = revoking(&idle).await;
    assert_eq!(assigned(&other).await, moving);
}
