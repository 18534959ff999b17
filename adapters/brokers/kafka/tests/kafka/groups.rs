//! Two members of one group, by both protocols.

use std::collections::BTreeMap;

use keylane::broker::{Base, Partition};
use keylane::delivery::Delivery;

use crate::cluster::{Cluster, numbered};
use crate::member::{Member, by_partition};

/// Both protocols, one story.
macro_rules! by_both_protocols {
    ($($story:ident),* $(,)?) => {
        mod classic {
            $(#[tokio::test] async fn $story() { super::$story("classic").await; })*
        }
        mod consumer {
            $(#[tokio::test] async fn $story() { super::$story("consumer").await; })*
        }
    };
}

by_both_protocols!(
    revoking_waits_for_handback,
    revoking_waits_only_so_long,
    nothing_appears_after_its_change,
    close_gives_partitions_to_the_others,
    handing_back_nothing_commits_nothing,
);

async fn member(cluster: &Cluster, settings: &str, epoch: u64) -> Member {
    Member::new(cluster.broker.consumer(cluster.spec("g", settings)).await.unwrap(), epoch)
}

async fn revoking_waits_for_handback(protocol: &str) {
    let Some(cluster) = Cluster::real(4).await else { return };
    let settings = format!("protocol = '{protocol}'");
    for partition in 0..4 {
        cluster.write(partition, numbered(0..10)).await;
    }
    let first = member(&cluster, &settings, 1).await;
    let all = first.assigned_in_all(4).await;
    first.start(&all, 0).await;
    first.read(40).await;

    let second = member(&cluster, &settings, 2).await;
    let (revoked, handback) = first.revoking().await;
    assert_eq!(revoked.len(), 2, "{revoked:?}");
    // S5: the new member gets nothing while the old one has not let go.
    if let Some(early) = second.soon(10).await {
        panic!("before the handback: {early:?}");
    }
    handback
        .done(revoked.iter().map(|partition| Base { partition: *partition, epoch: 1, offset: 7 }).collect());
    let taken = second.assigned_in_all(2).await;
    assert_eq!(taken, revoked);
    for partition in &revoked {
        let partition = i32::try_from(*partition).unwrap();
        assert_eq!(cluster.committed("g", partition).await, Some(7), "committed before it was given up");
    }
    // A base of a partition that is no longer ours changes nothing.
    first.consumer.commit(vec![Base { partition: revoked[0], epoch: 1, offset: 9 }]).await.unwrap();
    assert_eq!(cluster.committed("g", i32::try_from(revoked[0]).unwrap()).await, Some(7));

    second.start(&taken, 7).await;
    let again = second.read(6).await;
    assert!(again.iter().all(|delivery| delivery.place.epoch == 2 && delivery.place.offset >= 7));
    // The first member goes on with what it kept.
    let kept: Vec<_> = all.into_iter().filter(|partition| !revoked.contains(partition)).collect();
    cluster.write(i32::try_from(kept[0]).unwrap(), numbered(10..15)).await;
    let kept_on = first.read(5).await;
    assert!(
        kept_on.iter().all(|delivery| delivery.place.partition == kept[0] && delivery.place.offset >= 10)
    );
}

async fn revoking_waits_only_so_long(protocol: &str) {
    let Some(cluster) = Cluster::real(2).await else { return };
    let settings = format!("protocol = '{protocol}'\nrevoke_max = '500ms'");
    let first = member(&cluster, &settings, 1).await;
    let all = first.assigned_in_all(2).await;
    first.start(&all, 0).await;
    let second = member(&cluster, &settings, 2).await;
    let (revoked, handback) = first.revoking().await;
    let taken = second.assigned_in_all(1).await;
    assert_eq!(taken, revoked);
    // Too late: it is someone else's now.
    handback.done(vec![Base { partition: revoked[0], epoch: 1, offset: 1 }]);
    second.start(&taken, 0).await;
    second.consumer.commit(vec![Base { partition: taken[0], epoch: 2, offset: 0 }]).await.unwrap();
    assert_eq!(cluster.committed("g", i32::try_from(taken[0]).unwrap()).await, Some(0));
}

async fn nothing_appears_after_its_change(protocol: &str) {
    let Some(cluster) = Cluster::real(2).await else { return };
    let settings = format!("protocol = '{protocol}'");
    for partition in 0..2 {
        cluster.write(partition, numbered(0..5000)).await;
    }
    let first = member(&cluster, &settings, 1).await;
    let all = first.assigned_in_all(2).await;
    first.start(&all, 0).await;
    // The rest is read ahead, and not pulled when the change comes.
    let mut seen = counts(&first.read(10).await);
    let _second = member(&cluster, &settings, 2).await;
    let (gone, handback) = first.revoking().await;
    let kept = all.iter().copied().find(|partition| !gone.contains(partition)).unwrap();
    handback.done(Vec::new());
    let left = 5000 - seen.remove(&kept).unwrap_or_default();
    let rest = first.read(left).await;
    assert!(rest.iter().all(|delivery| delivery.place.partition == kept));
    assert_eq!(rest[left - 1].place.offset, 4999);
    if let Some(more) = first.soon(10).await {
        panic!("after its change: {more:?}");
    }
}

/// How many deliveries of each partition these are.
fn counts(deliveries: &[Delivery]) -> BTreeMap<Partition, usize> {
    by_partition(deliveries).into_iter().map(|(partition, payloads)| (partition, payloads.len())).collect()
}

async fn close_gives_partitions_to_the_others(protocol: &str) {
    let Some(cluster) = Cluster::real(2).await else { return };
    let settings = format!("protocol = '{protocol}'");
    cluster.write(0, numbered(0..10)).await;
    let first = member(&cluster, &settings, 1).await;
    let all = first.assigned_in_all(2).await;
    first.start(&all, 0).await;
    first.read(3).await;
    first.consumer.commit(vec![Base { partition: 0, epoch: 1, offset: 2 }]).await.unwrap();
    first.consumer.close(crate::cluster::PATIENCE).await;
    assert!(first.consumer.pull(1).await.is_err(), "a closed consumer says so");
    let second = member(&cluster, &settings, 2).await;
    assert_eq!(second.assigned_in_all(2).await, all);
    let from = cluster.committed("g", 0).await.and_then(|offset| u64::try_from(offset).ok()).unwrap();
    second.start(&[0], from).await;
    assert_eq!(second.read(8).await[0].place.offset, 2);
}

async fn handing_back_nothing_commits_nothing(protocol: &str) {
    let Some(cluster) = Cluster::real(2).await else { return };
    let settings = format!("protocol = '{protocol}'");
    let first = member(&cluster, &settings, 1).await;
    // Never started: the runtime was still taking the claims.
    first.assigned_in_all(2).await;
    let second = member(&cluster, &settings, 2).await;
    let (revoked, handback) = first.revoking().await;
    drop(handback);
    assert_eq!(second.assigned_in_all(1).await, revoked);
    assert_eq!(cluster.committed("g", i32::try_from(revoked[0]).unwrap()).await, None);
}
