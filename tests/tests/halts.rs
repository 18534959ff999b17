//! A log that is not the one that was read, in a whole runtime.

use std::time::Duration;

use keylane::Routes;
use keylane_tests::faults::StoreFaults;

use super::stage::{Stage, TOML, signs};

#[test]
fn l2_a_halted_partition_says_why_and_leaves_the_others_going() {
    let stage = Stage::new();
    let events = |from: u64| (from..from + 12).map(|n| (format!("k{}", n % 4), n.to_string())).collect();
    let start = || stage.start(TOML, stage.world.node(), StoreFaults::default(), Routes::new().all(signs));
    stage.publish(events(0));
    let first = start();
    stage.pass(Duration::from_secs(10));
    assert_eq!(stage.effects().len(), 12);
    let handle = first.handle();
    handle.shutdown();
    stage.world.block_on(Duration::from_secs(10), async move { handle.join().await }).unwrap();
    drop(first);

    // While nobody reads, more comes than the log keeps.
    stage.publish(events(12));
    let records = |partition| stage.broker.records("orders", partition).len() as u64;
    let (kept, told) = (records(1), stage.broker.committed("orders", "orders", 0));
    stage.broker.expire("orders", 0, records(0) - 1);
    let second = start();
    stage.pass(Duration::from_secs(10));
    let handle = second.handle();
    let halted = handle.halted();
    assert_eq!(halted.len(), 1, "{halted:?}");
    assert_eq!((halted[0].subscription.as_str(), halted[0].partition), ("orders", 0));
    assert!(halted[0].why.contains("expired before they were handled"), "{halted:?}");
    assert!(handle.is_running() && !handle.ready());
    // The other one is finished; of this one nothing was passed over.
    assert_eq!(stage.broker.committed("orders", "orders", 1), Some(kept));
    assert_eq!(stage.broker.committed("orders", "orders", 0), told);
    assert_eq!(stage.effects().len() as u64, 12 + kept / 2);
}
