//! The stories, told of any pair. Times are printed, never asserted: machines are slow.

use std::time::Duration;

use keylane_chaos::broker::BrokerKind;
use keylane_chaos::driver::{Options, kinds};
use keylane_chaos::plan::{Fault, Kind, Plan};

use crate::stage::{Pair, SESSION, Stage, keys_of, moved};

/// A fault of the worker in place 1.
fn of_one(kind: Kind, lasts: Duration) -> Fault {
    Fault::of(kind, Some(1), lasts)
}

/// A worker joins: it gets keys of its own.
pub(crate) fn worker_added(pair: Pair) {
    // Time enough for a group to make room for it while events come.
    let plan =
        Plan::of(&[Fault::of(Kind::Add, Some(3), Duration::ZERO)], SESSION * 8, Duration::from_secs(4));
    let outcome = Stage::of(pair, 2_000, plan).run();
    let added = &outcome.history.faults[0];
    let keys = keys_of(&outcome.history, added.pid.expect("a worker was added"), added.from, u64::MAX);
    assert!(!keys.is_empty(), "the new worker handled nothing");
    println!("the new worker handled {} keys", keys.len());
}

/// A worker is told to end: its keys go on elsewhere.
pub(crate) fn worker_drained(pair: Pair) {
    let outcome = Stage::new(pair, &[of_one(Kind::Drain, Duration::ZERO)]).run();
    let (keys, first) = moved(&outcome.history, &outcome.history.faults[0]);
    assert!(keys > 0, "none of its keys went on elsewhere");
    println!("{keys} keys of the drained worker went on elsewhere, the first after {first:.3}s");
}

/// A worker is killed: its keys go on elsewhere once its session is over.
pub(crate) fn worker_killed(pair: Pair) {
    let outcome = Stage::new(pair, &[of_one(Kind::Kill, SESSION * 2)]).run();
    let (keys, first) = moved(&outcome.history, &outcome.history.faults[0]);
    assert!(keys > 0, "none of its keys went on elsewhere");
    println!("{keys} keys of the killed worker went on elsewhere, the first after {first:.3}s");
}

/// Keys move while handlers that take a second and more run.
pub(crate) fn rebalance_during_long_handlers(pair: Pair) {
    let faults = [Fault::of(Kind::Add, Some(3), Duration::ZERO), of_one(Kind::Drain, Duration::ZERO)];
    let mut stage = Stage::new(pair, &faults);
    stage.options = Options { events: 800, long: 150, ..stage.options };
    let outcome = stage.run();
    for fault in &outcome.history.faults {
        let turns = outcome.history.lives.values().flat_map(|life| &life.turns);
        let during =
            turns.filter(|turn| turn.start < fault.from && turn.end.is_some_and(|(end, _)| end > fault.from));
        let during = during.count();
        assert!(during > 0, "no handler ran when the {} came", fault.kind.name());
        println!("{during} handlers ran when the {} came", fault.kind.name());
    }
}

/// A worker lives and is cut off from the store for longer than its promise: others take its keys, and what it
/// had begun commits nothing. An embedded store can't be cut off: there the process is stopped.
pub(crate) fn cut_off_from_the_store(pair: Pair) {
    let kind =
        if kinds(pair.broker, pair.store).contains(&Kind::CutStore) { Kind::CutStore } else { Kind::Stop };
    cut_off(pair, kind);
}

/// A worker lives and is cut off from the broker: its partitions, or the events that it had, go to others.
#[cfg_attr(
    not(all(feature = "postgres", any(feature = "kafka", feature = "rabbitmq"))),
    expect(dead_code, reason = "for pairs with servers")
)]
pub(crate) fn cut_off_from_the_broker(pair: Pair) {
    cut_off(pair, Kind::CutBroker);
}

fn cut_off(pair: Pair, kind: Kind) {
    let outcome = Stage::new(pair, &[of_one(kind, SESSION * 2)]).run();
    let fault = &outcome.history.faults[0];
    let (keys, first) = moved(&outcome.history, fault);
    if keys == 0 && pair.broker == BrokerKind::Kafka && kind == Kind::CutStore {
        // Kafka sees a member that lives, and lets it keep its partitions: they go on under its next session.
        let pid = fault.pid.expect("a fault of a worker");
        let again = keys_of(&outcome.history, pid, fault.until, u64::MAX);
        assert!(!again.is_empty(), "its keys went on nowhere");
        return println!("{} keys went on where they were, after the cut", again.len());
    }
    assert!(keys > 0, "none of its keys went on elsewhere");
    println!(
        "{keys} keys of the worker that was {} went on elsewhere, the first after {first:.3}s",
        kind.name()
    );
}

/// A worker lives and is cut off from one of two databases (rule S10): the keys of the other go on here meanwhile.
#[cfg_attr(
    not(all(feature = "postgres", any(feature = "kafka", feature = "rabbitmq"))),
    expect(dead_code, reason = "for pairs with servers")
)]
pub(crate) fn cut_off_from_one_database(pair: Pair) {
    let outcome = Stage::new(pair, &[of_one(Kind::CutStore, SESSION * 2)]).run();
    let fault = &outcome.history.faults[0];
    let pid = fault.pid.expect("a fault of a worker");
    // What was under way when the link was cut is over by half of it.
    let half = fault.from + (fault.until - fault.from) / 2;
    let keys = keys_of(&outcome.history, pid, half, fault.until);
    assert!(!keys.is_empty(), "the keys of the other database did not go on");
    println!("{} keys of the other database went on meanwhile", keys.len());
}

/// A minute of everything that the pair can suffer.
pub(crate) fn a_minute_of_chaos(pair: Pair) {
    let plan = |seed| Plan::draw(seed, 8, &kinds(pair.broker, pair.store), SESSION);
    let mut stage = Stage::of(pair, 6_000, plan(0));
    stage.options.plan = plan(stage.options.seed);
    print!("{}", keylane_chaos::report::plan(&stage.options.plan));
    let outcome = stage.run();
    assert_eq!(outcome.verdict.published, 6_000);
    assert_eq!(outcome.history.faults.len(), 8);
}
