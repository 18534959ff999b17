//! What one and two workers do with a queue.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use keylane::memory::Memory;
use keylane::store::Store;
use keylane::{Admin, Context, Effects, Failure, RawEvent, Routes, State};

use super::{FEW, Seen, Stage, Worker, handle};

#[tokio::test]
async fn two_workers_share_a_queue_and_no_two_runs_of_a_key_overlap() {
    let mut stage = Stage::new();
    stage.more = FEW;
    stage.publish(10, 30).await;
    let _a = stage.worker(1, Duration::from_millis(3)).await;
    let _b = stage.worker(2, Duration::from_millis(7)).await;
    stage.drained(300).await;
    stage.holds(10, 30).await;
    let workers = stage.seen.workers.lock().unwrap().values().filter(|workers| workers.len() == 2).count();
    assert!(workers > 0, "no key changed hands: nothing was shown");
    assert_eq!(stage.seen.runs.load(Ordering::Relaxed), 300, "nothing failed, so nothing ran twice");
    stage.clock.pass(Duration::from_secs(5)).await;
    assert_eq!(stage.memory.leases_held().await, 0, "rule S7: no lease without a lane");
}

#[tokio::test]
async fn s9_a_hot_key_is_given_up_after_its_turn() {
    let mut stage = Stage::new();
    stage.more = FEW;
    stage.publish(1, 600).await;
    let _a = stage.worker(1, Duration::from_millis(2)).await;
    let _b = stage.worker(2, Duration::from_millis(2)).await;
    stage.drained(600).await;
    stage.holds(1, 600).await;
    let tokens = stage.seen.tokens.lock().unwrap().values().next().unwrap().clone();
    let turns: BTreeSet<u64> = tokens.iter().copied().collect();
    assert!(turns.len() > 4, "the key changed hands {} times", turns.len());
}

#[tokio::test]
async fn a_worker_that_dies_leaves_its_keys_to_the_others() {
    let stage = Stage::new();
    stage.publish(10, 20).await;
    let (env, handle) = stage.worker(1, Duration::from_millis(100)).await;
    stage.clock.pass(Duration::from_millis(1_050)).await;
    env.abandon();
    drop(handle);
    // The crash is no overlap: what ran there is gone.
    let _b = stage.worker(2, Duration::from_millis(5)).await;
    stage.drained(200).await;
    stage.holds(10, 20).await;
}

#[tokio::test]
async fn a_cut_connection_costs_nothing_but_redeliveries() {
    let mut stage = Stage::new();
    stage.more = FEW;
    stage.publish(10, 30).await;
    let _a = stage.worker(1, Duration::from_millis(20)).await;
    let _b = stage.worker(2, Duration::from_millis(20)).await;
    for _ in 0..10 {
        stage.clock.pass(Duration::from_millis(55)).await;
        stage.queues.cut("orders");
    }
    stage.drained(300).await;
    stage.holds(10, 30).await;
}

#[tokio::test]
async fn a_drained_workers_keys_go_on_elsewhere_at_once() {
    let stage = Stage::new();
    stage.publish(10, 40).await;
    let (_, a) = stage.worker(1, Duration::from_millis(50)).await;
    let _b = stage.worker(2, Duration::from_millis(50)).await;
    stage.clock.pass(Duration::from_millis(500)).await;
    a.shutdown();
    a.join().await.unwrap();
    let of_a = |seen: &Seen| seen.runs.load(Ordering::Relaxed);
    let before = of_a(&stage.seen);
    // Well within the session's lifetime: nothing has to expire.
    stage.clock.pass(Duration::from_secs(1)).await;
    assert!(of_a(&stage.seen) > before + 50, "{before} then {}", of_a(&stage.seen));
    stage.drained(400).await;
    stage.holds(10, 40).await;
}

#[tokio::test]
async fn a_failed_event_is_tried_again_and_its_attempts_survive_the_worker() {
    async fn fails(_: RawEvent, State(stage): State<Stage>, cx: Context) -> Result<(), Failure> {
        stage.seen.tokens.lock().unwrap().entry(Bytes::new()).or_default().push(u64::from(cx.attempt()));
        Err(Failure::new("no"))
    }
    let mut stage = Stage::new();
    stage.more = "[subscription.service.retry]\nattempts_max = 6\ndelay = \"1s\"\ndelay_max = \"1s\"\n";
    stage.publish(1, 1).await;
    let env = stage.clock.env(1);
    let a = stage.start(&env, Routes::new().all(fails).with_state(stage.clone())).await;
    let attempts = || stage.seen.tokens.lock().unwrap().get(&Bytes::new()).cloned().unwrap_or_default();
    stage.clock.until("three attempts", || attempts().len() >= 3).await;
    stage.clock.pass(Duration::from_millis(50)).await;
    env.abandon();
    drop(a);
    let env = stage.clock.env(2);
    let _b = stage.start(&env, Routes::new().all(fails).with_state(stage.clone())).await;
    stage.clock.until("the last attempt", || attempts().last() == Some(&6)).await;
    assert_eq!(attempts(), [1, 2, 3, 4, 5, 6], "no attempt is forgotten, none counted twice");
    stage.clock.pass(Duration::from_secs(1)).await;
    let store: Arc<dyn Store> = stage.memory.worker(&stage.env);
    let dead = Admin::new(store).dead_letters("service", None, 10).await.unwrap();
    assert_eq!(dead.iter().map(|row| row.attempts).collect::<Vec<_>>(), [6]);
    assert_eq!(stage.queues.queued("orders").unwrap().unsettled, 0, "a dead letter is settled");
}

#[tokio::test]
async fn a_released_letter_is_run_by_whoever_takes_its_key() {
    async fn mended(
        event: RawEvent,
        State(stage): State<Stage>,
        fx: Effects<Memory>,
        cx: Context,
    ) -> Result<(), Failure> {
        if stage.seen.runs.load(Ordering::Relaxed) == 0 {
            return Err(Failure::new("broken").permanent());
        }
        let worker = Worker { stage, number: 1, pause: Duration::ZERO };
        handle(event, State(worker), fx, cx).await
    }
    let stage = Stage::new();
    stage.publish(1, 1).await;
    let routes = || Routes::new().all(mended).with_state(stage.clone());
    let (a, b) = (stage.clock.env(1), stage.clock.env(2));
    let _a = stage.start(&a, routes()).await;
    let _b = stage.start(&b, routes()).await;
    let store: Arc<dyn Store> = stage.memory.worker(&stage.env);
    let admin = Admin::new(store);
    let mut dead = Vec::new();
    for _ in 0..100 {
        stage.clock.pass(Duration::from_millis(100)).await;
        dead = admin.dead_letters("service", None, 10).await.unwrap();
        if !dead.is_empty() {
            break;
        }
    }
    assert_eq!(dead.len(), 1);
    stage.seen.runs.store(1, Ordering::Relaxed);
    admin.release(dead[0].parked_id()).await.unwrap();
    for _ in 0..100 {
        stage.clock.pass(Duration::from_millis(100)).await;
        if !stage.effects().await.is_empty() {
            break;
        }
    }
    stage.clock.pass(Duration::from_secs(3)).await;
    assert_eq!(stage.effects().await.len(), 1, "once, though both were told");
    assert_eq!(stage.seen.runs.load(Ordering::Relaxed), 2, "one run after the release");
    assert!(admin.dead_letters("service", None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn one_lease_serves_all_keys_of_a_worker_that_says_local() {
    let mut stage = Stage::new();
    stage.more = "lock = \"local\"\n";
    stage.publish(10, 30).await;
    let _a = stage.worker(1, Duration::from_millis(3)).await;
    stage.drained(300).await;
    stage.holds(10, 30).await;
    assert_eq!(stage.memory.leases_held().await, 1);
}

async fn noop(_: RawEvent, State(stage): State<Stage>) -> Result<(), Failure> {
    stage.seen.runs.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

async fn settles_without_commits(more: &'static str) {
    let mut stage = Stage::new();
    stage.more = more;
    stage.publish(10, 30).await;
    let env = stage.clock.env(1);
    let _a = stage.start(&env, Routes::new().all(noop).with_state(stage.clone())).await;
    stage.drained(0).await;
    assert_eq!(stage.seen.runs.load(Ordering::Relaxed), 300);
}

#[tokio::test]
async fn without_a_ledger_events_are_settled_without_a_commit() {
    settles_without_commits("ledger = { mode = \"off\" }\n").await;
}

#[tokio::test]
async fn without_a_ledger_and_with_one_lease_the_store_is_not_asked() {
    settles_without_commits("lock = \"local\"\nledger = { mode = \"off\" }\n").await;
}

#[tokio::test]
async fn the_same_id_twice_has_one_effect_whoever_gets_it() {
    let mut stage = Stage::new();
    stage.more = FEW;
    stage.publish(5, 10).await;
    stage.publish(5, 10).await;
    let _a = stage.worker(1, Duration::from_millis(3)).await;
    let _b = stage.worker(2, Duration::from_millis(3)).await;
    stage.drained(50).await;
    stage.holds(5, 10).await;
}

#[tokio::test]
async fn a_session_that_was_taken_over_runs_nothing_under_its_old_leases() {
    let stage = Stage::new();
    stage.publish(6, 20).await;
    let (_, _a) = stage.worker(1, Duration::from_millis(30)).await;
    let _b = stage.worker(2, Duration::from_millis(30)).await;
    stage.clock.pass(Duration::from_millis(200)).await;
    // An operator, or another worker, ends every session of this moment.
    stage.memory.end_sessions().await;
    stage.drained(120).await;
    let effects = stage.effects().await;
    let ids: BTreeSet<&str> = effects.iter().filter_map(|row| Some(row.rsplit_once(' ')?.0)).collect();
    assert_eq!((ids.len(), effects.len()), (120, 120));
}
