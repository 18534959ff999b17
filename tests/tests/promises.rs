//! What becomes of work that goes on too long: past its limit, past its worker's promise, past a drain.

use std::time::Duration;

use keylane::{Failure, RawEvent, Routes, State, route};
use keylane_tests::faults::StoreFaults;

use super::stage::{Place, Stage, TOML, Worker, signs};

/// The first try of "hangs" never ends by itself.
async fn hangs_once(event: RawEvent, State(place): State<Place>) -> Result<(), Failure> {
    let payload = String::from_utf8_lossy(&event).into_owned();
    let first = !place.lines.has(&format!("begin {payload}"));
    let _run = place.begin(&payload);
    if first && payload == "hangs" {
        std::future::pending::<()>().await;
    }
    Ok(())
}

fn one_key() -> Vec<(String, String)> {
    ["hangs", "next"].map(|payload| ("key".to_owned(), payload.to_owned())).into()
}

/// How long a handler with a task of its own can't be stopped.
const BUSY: Duration = Duration::from_secs(8);

fn past_its_limit(spawned: bool) {
    let stage = Stage::new();
    stage.publish(one_key());
    let node = stage.world.node().with_busy_handlers(BUSY);
    let handler = if spawned { route(hangs_once).spawned() } else { route(hangs_once) };
    let worker = stage.start(TOML, node, StoreFaults::default(), Routes::new().all(handler));
    stage.until("end next");
    assert_eq!(stage.lines.all(), ["begin hangs", "end hangs", "begin next", "end next"]);
    assert_eq!(stage.world.now() >= BUSY, spawned, "it was dropped when it could be");
    drop(worker.handle());
}

#[test]
fn a_handler_past_its_limit_is_over_before_the_next_of_its_key_begins() {
    past_its_limit(false);
}

#[test]
fn a_spawned_handler_past_its_limit_is_over_before_the_next_of_its_key_begins() {
    past_its_limit(true);
}

fn past_the_promise(spawned: bool) {
    let stage = Stage::new();
    stage.publish(one_key());
    let node = stage.world.node().with_busy_handlers(BUSY);
    let handler = if spawned { route(hangs_once).spawned() } else { route(hangs_once) };
    let toml = TOML.replace("timeout = \"1s\"", "timeout = \"10m\"");
    let worker = stage.start(&toml, node, StoreFaults::default(), Routes::new().all(handler));
    stage.until("begin hangs");
    // Longer than the session lives, shorter than the handler can't be stopped.
    worker.to_store.cut(&worker.env, Duration::from_secs(5));
    stage.until("end next");
    let all = ["begin hangs", "end hangs", "begin hangs", "end hangs", "begin next", "end next"];
    assert_eq!(stage.lines.all(), all, "it was no try, so it is tried again");
    drop(worker.handle());
}

#[test]
fn s4_a_handler_past_the_promise_is_over_before_its_key_goes_on() {
    past_the_promise(false);
}

#[test]
fn s4_a_spawned_handler_past_the_promise_is_over_before_its_key_goes_on() {
    past_the_promise(true);
}

/// Stops a worker when it has come to `line`, for longer than its promise. Another one takes over the partition
/// that the broker moves; by that, the session of the first is gone.
fn stopped_and_continued(line: &str) {
    let stage = Stage::new();
    stage.publish((0..12).map(|n| (format!("k{}", n % 4), n.to_string())).collect());
    let slow = StoreFaults { latency_max: Duration::from_millis(400), ..StoreFaults::default() };
    let first = stage.start(TOML, stage.world.node(), slow, Routes::new().all(signs));
    let number = first.node.number();
    stage.until(&format!("{line} {number} 0"));
    first.node.freeze();
    let (begun, before) = (stage.lines.all(), stage.effects());
    let second = stage.start(TOML, stage.world.node(), StoreFaults::default(), Routes::new().all(signs));
    stage.pass(Duration::from_secs(60));
    let taken = stage.effects().split_off(before.len());
    assert!(!taken.is_empty() && taken.iter().all(|effect| !effect.starts_with(&format!("{number} "))));
    first.node.thaw();
    stage.pass(Duration::from_secs(60));
    let effects = stage.effects();
    let mut each: Vec<u32> =
        effects.iter().map(|effect| effect.split_once(' ').unwrap().1.parse().unwrap()).collect();
    each.sort_unstable();
    assert_eq!(each, (0..12).collect::<Vec<u32>>(), "{effects:#?}");
    // What the first one had begun it has not written: it began again, or the other one did it.
    let lines = stage.lines.all();
    let begun = begun.iter().filter_map(|line| line.strip_prefix("begin "));
    let begun: Vec<&str> = begun.filter(|begun| !before.iter().any(|effect| effect == begun)).collect();
    assert!(!begun.is_empty());
    for begun in begun {
        let own = effects.iter().any(|effect| effect == begun);
        let times = lines.iter().filter(|line| line.strip_prefix("begin ") == Some(begun)).count();
        assert_eq!(times, if own { 2 } else { 1 }, "{begun}");
    }
    drop((first.handle(), second.handle()));
}

#[test]
fn s4_a_worker_stopped_in_a_handler_and_continued_commits_nothing() {
    stopped_and_continued("begin");
}

#[test]
fn u1_a_worker_stopped_in_a_commit_and_continued_commits_nothing() {
    stopped_and_continued("end");
}

fn a_drain_ends(away: impl Fn(&Worker)) {
    let stage = Stage::new();
    stage.publish((0..12).map(|n| (format!("k{}", n % 4), n.to_string())).collect());
    let worker = stage.start(TOML, stage.world.node(), StoreFaults::default(), Routes::new().all(signs));
    stage.until(&format!("end {} 0", worker.node.number()));
    let handle = worker.handle();
    away(&worker);
    handle.shutdown();
    // The drain's own limit, and then a moment each for what was dropped, written and left.
    let limit = Duration::from_secs(2 + 3 + 5 + 5);
    let began = stage.world.now();
    stage.world.block_on(limit, async move { handle.join().await }).unwrap();
    assert!(stage.world.now() > began);
}

#[test]
fn a_drain_ends_within_its_limit_with_the_store_away() {
    a_drain_ends(|worker| worker.to_store.cut(&worker.env, Duration::from_secs(3600)));
}

#[test]
fn a_drain_ends_within_its_limit_with_a_store_that_does_not_answer() {
    a_drain_ends(|worker| worker.to_store.mute(&worker.env, Duration::from_secs(3600)));
}
