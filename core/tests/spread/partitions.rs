//! Over a broker with partitions.

use std::time::Duration;

use super::{FEW, SOURCE, Stage};

impl Stage {
    /// Lets time pass until the broker was told the end of every partition that holds anything.
    pub(super) async fn until_told(&self, partitions: u32) {
        let ends = |at| self.log.records(SOURCE, at).len() as u64;
        let told = |at| ends(at) == 0 || self.log.committed(SOURCE, "service", at) == Some(ends(at));
        for _ in 0..3_000 {
            if (0..partitions).all(told) {
                return;
            }
            self.clock.pass(Duration::from_millis(20)).await;
        }
        let bases: Vec<_> =
            (0..partitions).map(|at| (ends(at), self.log.committed(SOURCE, "service", at))).collect();

        panic!("ends and bases after a minute: {bases:?}");
    }
}

#[tokio::test]
async fn s10_each_key_has_one_database_and_every_base_reaches_the_end() {
    // Fewer keys than partitions: most hold events of one database alone, some of none.
    let mut stage = Stage::new(8);
    stage.publish(6, 50).await;
    let _worker = stage.start(1).await;
    stage.until_all().await;
    stage.holds(true).await;
    assert_eq!(stage.runs(), 300);
    stage.until_told(8).await;
}

#[tokio::test]
async fn s10_the_same_by_position_and_with_a_small_budget() {
    let mut stage = Stage::new(3);
    stage.more = "budget = { messages_max = 40, waiting_max = 40 }\nledger.mode = \"position\"";
    stage.publish(20, 100).await;
    let _worker = stage.start(1).await;
    stage.until_all().await;
    stage.holds(true).await;
    stage.until_told(3).await;
}

#[tokio::test]
async fn s10_a_database_that_is_away_stops_only_its_own_keys() {
    away_and_back(FEW).await;
}

#[tokio::test]
async fn s10_the_same_away_by_position() {
    away_and_back("budget = { messages_max = 40, waiting_max = 40 }\nledger.mode = \"position\"").await;
}

async fn away_and_back(more: &'static str) {
    {
        let mut stage = Stage::new(3);
        stage.more = more;
        stage.publish(20, 1).await;
        let _worker = stage.start(1).await;
        stage.until_all().await;
        stage.homes[0].set_away(true);
        let (before, others) = (stage.homes[0].rows("rows").await.len(), stage.rows(1).await.len());
        stage.publish(20, 150).await;
        let share = stage.share(1).await;
        assert!(share >= 100 * others && share > 10 * 40, "far more than the budget: {share}");
        stage.until_written(1, share).await;
        // Longer than any session lasts.
        stage.clock.pass(Duration::from_secs(30)).await;
        stage.publish(20, 50).await;
        stage.until_written(1, stage.share(1).await).await;
        assert_eq!(stage.homes[0].rows("rows").await.len(), before, "nothing was written while it was away");
        stage.homes[0].set_away(false);
        stage.until_all().await;
        stage.holds(true).await;
        stage.until_told(3).await;
    }
}

#[tokio::test]
async fn s10_a_restart_begins_where_the_last_database_is() {
    let mut stage = Stage::new(2);
    stage.publish(10, 40).await;
    // The last thing in each partition is one key's: all other databases have to pass over it.
    for _ in 0..100 {
        stage.publish_to(&["k0".to_owned(), "k1".to_owned()]).await;
    }
    let (_, handle) = stage.start(1).await;
    stage.until_all().await;
    stage.until_told(2).await;
    handle.shutdown();
    handle.join().await.unwrap();
    let runs = stage.runs();
    // Rule L2: who began further back would find its log damaged. One record below each end stays: the witness.
    for partition in 0..2 {
        let end = stage.log.records(SOURCE, partition).len() as u64;
        stage.log.expire(SOURCE, partition, end - 1);
    }
    stage.publish(10, 10).await;
    let (_, handle) = stage.start(2).await;
    stage.until_all().await;
    stage.holds(true).await;
    assert_eq!(handle.halted(), []);
    assert_eq!(stage.runs(), runs + 100, "no event was handled twice");
}

#[tokio::test]
async fn l2_a_log_that_changed_is_noticed_by_every_database() {
    let mut stage = Stage::new(1);
    stage.publish(10, 10).await;
    for _ in 0..20 {
        stage.publish_to(&["k0".to_owned()]).await;
    }
    let (_, handle) = stage.start(1).await;
    stage.until_all().await;
    stage.until_told(1).await;
    handle.shutdown();
    handle.join().await.unwrap();
    stage.log.delete(SOURCE);
    stage.log.create(SOURCE, 1);
    stage.publish(10, 20).await;
    let (_, handle) = stage.start(2).await;
    stage.clock.until("both databases halt", || handle.halted().len() == 2).await;
    let halted = handle.halted();
    assert!(halted[0].why.starts_with("database 1 of 2: "), "{halted:?}");
    assert!(halted[1].why.starts_with("database 2 of 2: "), "{halted:?}");
}
