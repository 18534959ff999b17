//! The start, the end, and what an operator sees.

use std::time::Duration;

use keylane::memory::Memory;
use keylane::store::ReleaseAnswer;
use keylane::{Failure, RawEvent, Routes, Runtime};

use super::Stage;

#[tokio::test]
async fn s10_one_database_has_to_be_there_at_the_start() {
    let stage = Stage::new(1);
    stage.homes.iter().for_each(|home| home.set_away(true));
    let error = stage.start_on(1, "memory").await.unwrap_err();
    assert!(error.to_string().contains("away"), "{error}");
}

#[tokio::test]
async fn s10_a_database_that_is_away_at_the_start_stops_only_its_own_keys() {
    away_at_the_start("memory").await;
}

#[tokio::test]
async fn s10_the_same_away_at_the_start_over_a_queue() {
    away_at_the_start("memory_queues").await;
}

#[tokio::test]
async fn s10_a_database_that_is_away_at_the_start_may_not_begin_at_the_end() {
    let mut stage = Stage::new(1);
    stage.more = "start = \"latest\"";
    stage.homes[1].set_away(true);
    let error = stage.start_on(1, "memory").await.unwrap_err();
    for word in ["database 2 of 2", "\"service\"", "latest", "away"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    stage.homes[1].set_away(false);
    stage.start_on(2, "memory").await.unwrap();
}

async fn away_at_the_start(broker: &str) {
    let mut stage = Stage::new(3);
    stage.publish(20, 20).await;
    // Where each key belongs.
    let (env, worker) = stage.start_on(1, broker).await.unwrap();
    stage.until_all().await;
    env.abandon();
    drop(worker);
    stage.clock.pass(Duration::from_secs(10)).await;
    let before = stage.rows(0).await;
    stage.homes[0].set_away(true);
    let (_env, worker) = stage.start_on(2, broker).await.unwrap();
    stage.publish(20, 50).await;
    stage.until_written(1, stage.share(1).await).await;
    assert_eq!(stage.rows(0).await, before, "nothing was written while it was away");
    assert!(!worker.ready(), "keys of it wait");
    stage.homes[0].set_away(false);
    stage.until_all().await;
    stage.holds(broker == "memory").await;
    stage.clock.until("a ready worker", || worker.ready()).await;
}

#[tokio::test]
async fn s10_an_operator_sees_the_dead_letters_of_all_databases() {
    async fn refuse(_: RawEvent) -> Result<(), Failure> {
        Err(Failure::new("no").permanent())
    }
    let mut stage = Stage::new(2);
    stage.publish(10, 3).await;
    let toml = "[store.memory]\n[broker.main.memory]\n[subscription.service]\nsource = \"orders\"\n\
        retry.on_exhausted = \"skip\"";
    let runtime = Runtime::from_text(toml).env(stage.clock.env(1)).store(Memory::spread(&stage.homes));
    let runtime = runtime.broker(stage.log.clone()).subscription("service", Routes::new().all(refuse));
    let handle = runtime.start().await.unwrap();
    stage.clock.pass(Duration::from_secs(5)).await;
    let admin = handle.admin();
    let all = admin.dead_letters("service", None, 1000).await.unwrap();
    assert_eq!(all.len(), 30);
    let mut paged = Vec::new();
    loop {
        let after = paged.last().map(keylane::store::Parked::parked_id);
        let page = admin.dead_letters("service", after, 7).await.unwrap();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    for one in admin.databases() {
        let own = one.dead_letters("service", None, 1000).await.unwrap();
        assert!(!own.is_empty() && own.len() < 30, "{}", own.len());
    }
    let released = admin.release(all[29].parked_id()).await.unwrap();
    assert_eq!(released, ReleaseAnswer::Requested);
    let mut letters = Vec::new();
    for one in admin.databases() {
        letters.push(one.dead_letters("service", None, 1).await.unwrap().remove(0).parked_id());
    }
    stage.homes[0].set_away(true);
    assert_eq!(admin.release(letters[1].clone()).await.unwrap(), ReleaseAnswer::Requested);
    let error = admin.release(letters[0].clone()).await.unwrap_err();
    assert!(error.to_string().contains("database 1 of 2"), "{error}");
}
