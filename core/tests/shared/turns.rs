//! Turns of a hot key, and the end of a worker.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Clock, Stage};

/// With a backlog of more events than a turn has on both sides.
#[tokio::test]
async fn s9_a_turn_is_what_was_done_of_a_key_not_what_came() {
    let mut stage = Stage::new();
    stage.more = "budget = { messages_max = 200, waiting_max = 200 }\n";
    stage.publish(1, 1_000).await;
    let _a = stage.worker(1, Duration::from_millis(2)).await;
    let _b = stage.worker(2, Duration::from_millis(2)).await;
    stage.drained(1_000).await;
    stage.holds(1, 1_000).await;
    let tokens = stage.seen.tokens.lock().unwrap().values().next().unwrap().clone();
    let last = tokens.iter().max().copied().unwrap();
    let turns: BTreeSet<u64> = tokens.iter().copied().collect();
    assert!(turns.len() > 2, "the key changed hands");
    assert!(last <= 40, "{last} leases were granted for a thousand events of one key");
}

/// What a worker finished before it ended does not come again, nor is anything lost.
#[tokio::test]
async fn a_drain_settles_all_that_it_finished() {
    let clock = Clock::paused();
    for pass in 0..60 {
        let stage = Stage::on(clock);
        stage.publish(20, 20).await;
        let (_, handle) = stage.worker(1, Duration::from_millis(pass % 3)).await;
        stage.clock.pass(Duration::from_millis(3 + pass)).await;
        handle.shutdown();
        handle.join().await.unwrap();
        let left = stage.queues.queued("orders").unwrap();
        let done = stage.effects().await.len();
        assert_eq!((left.ready + done, left.unsettled), (400, 0), "{done} were finished before the end");
    }
}
