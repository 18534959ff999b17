//! What the broker shows of a group, after a worker died between the store's commit and the broker's.

use std::time::Duration;

use keylane::Routes;
use keylane_tests::faults::StoreFaults;

use super::stage::{Stage, TOML, signs};

#[test]
fn who_claims_tells_the_broker_where_the_position_stands() {
    let stage = Stage::new();
    let start = || stage.start(TOML, stage.world.node(), StoreFaults::default(), Routes::new().all(signs));
    let told = || [0, 1].map(|partition| stage.broker.committed("orders", "orders", partition));
    let high = || [0, 1].map(|partition| Some(stage.broker.records("orders", partition).len() as u64));
    stage.publish((0..24).map(|n| (format!("k{}", n % 4), n.to_string())).collect());
    let first = start();
    for _ in 0..10_000 {
        if stage.effects().len() == 24 {
            break;
        }
        stage.pass(Duration::from_millis(1));
    }
    first.node.crash();
    drop(first);
    assert!(told() != high(), "it died too late to show anything");

    let second = start();
    stage.pass(Duration::from_secs(20));
    assert_eq!(told(), high());
    assert_eq!(stage.effects().len(), 24);
    drop(second);
}
