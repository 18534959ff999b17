//! Over a broker without partitions.

use std::time::Duration;

use keylane::Handle;

use super::{SOURCE, Stage};

impl Stage {
    async fn start_queue(&self, number: u64) -> Handle {
        self.start_on(number, "memory_queues").await.unwrap().1
    }

    /// Lets time pass until the queue has nothing left.
    async fn until_empty(&self) {
        let left = || self.queues.queued(SOURCE).map(|queued| queued.ready + queued.unsettled);
        self.clock.until("an empty queue", || left() == Some(0)).await;
    }
}

#[tokio::test]
async fn s10_each_key_of_a_queue_has_one_database() {
    let mut stage = Stage::new(1);
    stage.more = super::FEW;
    stage.publish(12, 50).await;
    let _worker = stage.start_queue(1).await;
    stage.until_all().await;
    stage.until_empty().await;
    stage.holds(false).await;
    assert_eq!(stage.runs(), 600, "nothing failed, so nothing ran twice");
}

#[tokio::test]
async fn s10_a_queues_other_keys_go_on_while_a_database_is_away() {
    let mut stage = Stage::new(1);
    stage.more = super::FEW;
    stage.publish(12, 1).await;
    let _worker = stage.start_queue(1).await;
    stage.until_all().await;
    let (away, others): (Vec<String>, Vec<String>) =
        (stage.rows(0).await.into_keys().collect(), stage.rows(1).await.into_keys().collect());
    stage.homes[0].set_away(true);
    let before = stage.homes[0].rows("rows").await.len();
    // More than wait in its line, so that some are given back; fewer than may be kept in all.
    for round in 0..400 {
        if round % 25 == 0 {
            stage.publish_to(&away[..1]).await;
            stage.publish_to(&away[..1]).await;
        }
        stage.publish_to(&others).await;
    }
    stage.until_written(1, stage.share(1).await).await;
    assert_eq!(stage.homes[0].rows("rows").await.len(), before, "nothing was written while it was away");
    stage.clock.pass(Duration::from_secs(30)).await;
    stage.homes[0].set_away(false);
    stage.until_all().await;
    stage.until_empty().await;
    stage.holds(false).await;
}

#[tokio::test]
async fn s10_a_drain_gives_back_what_waits_for_a_database() {
    let mut stage = Stage::new(1);
    stage.more = super::FEW;
    stage.publish(12, 1).await;
    let handle = stage.start_queue(1).await;
    stage.until_all().await;
    stage.homes[0].set_away(true);
    stage.publish(12, 30).await;
    stage.clock.pass(Duration::from_secs(2)).await;
    handle.shutdown();
    stage.clock.pass(Duration::from_secs(60)).await;
    handle.join().await.unwrap();
    assert_eq!(stage.queues.queued(SOURCE).unwrap().unsettled, 0);
    stage.homes[0].set_away(false);
    let _next = stage.start_queue(2).await;
    stage.until_all().await;
    stage.until_empty().await;
    stage.holds(false).await;
}

#[tokio::test]
async fn t5_a_database_that_is_away_costs_a_delivery_one_attempt_of_the_broker() {
    let mut stage = Stage::new(1);
    stage.more = super::FEW;
    stage.publish(12, 1).await;
    let _worker = stage.start_queue(1).await;
    stage.until_all().await;
    let away: Vec<String> = stage.rows(0).await.into_keys().collect();
    let before = stage.queues.queued(SOURCE).unwrap().redelivered;
    stage.homes[0].set_away(true);
    // More than its line and its lanes hold.
    let late: Vec<String> = (0..60).map(|_| away[0].clone()).collect();
    stage.publish_to(&late).await;
    stage.clock.pass(Duration::from_secs(60)).await;
    let given_back = stage.queues.queued(SOURCE).unwrap().redelivered - before;
    assert!((1..=60).contains(&given_back), "{given_back} for 60 deliveries");
    stage.homes[0].set_away(false);
    stage.until_all().await;
    stage.until_empty().await;
    stage.holds(false).await;
    let given_back = stage.queues.queued(SOURCE).unwrap().redelivered - before;
    assert!(given_back <= 60, "{given_back} for 60 deliveries, when all was over");
}
