//! Two processes share a group on Kafka: one is killed, one is paused for longer than its promise lasts.

use std::collections::HashSet;

use keylane_tests::process::Signal;

use crate::eyes::{Seen, can_be_written, published_in_log};
use crate::kills::{Moments, assert_dead_letters_are_the_workload_s};
use crate::process::{Orders, Scene};
use crate::turns;

const SIZE: [&str; 2] = ["--orders", "4000"];
/// Slow enough that there is work for as long as processes come and go.
const PACE: [&str; 2] = ["--pace", "450"];

/// The servers to be used, or why there are none.
fn servers() -> Result<String, &'static str> {
    if std::env::var_os("KEYLANE_BIN_DIR").is_none() && !cfg!(feature = "kafka") {
        return Err("built without the feature `kafka`");
    }
    std::env::var("KEYLANE_TEST_KAFKA").map_err(|_| "KEYLANE_TEST_KAFKA is not set")
}

/// What the workload publishes: the same workload, on the embedded log.
fn workload() -> Vec<String> {
    let scene = Scene::new(include_str!("../subscriptions.toml"), &[]);
    let mut publisher = scene.start(&[&SIZE[..], &["--role", "publish"]].concat());
    assert!(publisher.end().success(), "{}", publisher.said());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(published_in_log(&scene.database(), "orders"))
}

fn trace(scene: &Scene) -> String {
    std::fs::read_to_string(scene.trace()).unwrap_or_default()
}

/// Waits until a process has begun so many runs.
fn until_begun(scene: &Scene, worker: &mut Orders, runs: usize) {
    let pid = worker.pid();
    let begun = worker.until(|| turns::begun(&trace(scene), pid).len() >= runs);
    assert!(begun, "worker {pid} ended before it had begun {runs} runs:\n{}", worker.said());
}

/// Waits until a key that one worker had just now is with another: the promise of the first is over, and
/// so are its session and its membership.
fn until_taken_over(scene: &Scene, paused: &Orders, other: &mut Orders) {
    const JUST_NOW: usize = 200;
    let before = trace(scene);
    let had: HashSet<&str> = turns::begun(&before, paused.pid()).into_iter().rev().take(JUST_NOW).collect();
    let pid = other.pid();
    let taken = other.until(|| {
        let now = trace(scene);
        turns::begun(&now[before.len()..], pid).iter().any(|key| had.contains(key))
    });
    assert!(taken, "worker {pid} ended without the events of the paused one:\n{}", other.said());
}

/// Stops the worker, but not inside of a write to the file: whoever stands still there keeps SQLite's one lock for
/// writing, so nobody else could write until it goes on.
fn pause_between_writes(scene: &Scene, worker: &mut Orders) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    while {
        worker.pause();
        !runtime.block_on(can_be_written(&scene.database()))
    } {
        println!("worker {} stood still inside of a write, and is paused once more", worker.pid());
        worker.signal(Signal::CONT);
    }
}

/// Notices breaches of S1, S2, S4, S5, C1 and L2 in a whole service.
#[test]
fn one_of_two_killed_and_one_paused_beyond_its_promise() {
    let servers = match servers() {
        Ok(servers) => servers,
        Err(why) => return println!("skipped orders on Kafka: {why}"),
    };
    let mut moments = Moments::new();
    let topic = format!("orders-test-{}-{}", std::process::id(), moments.below(1_000_000));
    let sooner = [("session = \"3s\"", "session = \"1s\""), ("crashes_max = 20", "crashes_max = 100")];
    let scene = Scene::new(include_str!("../kafka.toml"), &sooner)
        .with_variables(&[("KAFKA", &servers), ("ORDERS_TOPIC", &topic)]);
    let mut publisher = scene.start(&[&SIZE[..], &PACE, &["--role", "publish"]].concat());

    let work = [&SIZE[..], &["--role", "work"]].concat();
    let (mut first, mut second) = (scene.start(&work), scene.start(&work));
    until_begun(&scene, &mut first, 1);
    until_begun(&scene, &mut second, 1);

    let runs = turns::begun(&trace(&scene), first.pid()).len();
    until_begun(&scene, &mut first, runs + moments.below(300) as usize);
    assert!(first.kill(), "{}", first.said());
    scene.note(&format!("killed {}", first.pid()));

    let mut third = scene.start(&work);
    until_begun(&scene, &mut third, 1 + moments.below(300) as usize);
    pause_between_writes(&scene, &mut second);
    scene.note(&format!("paused {}", second.pid()));
    until_taken_over(&scene, &second, &mut third);
    scene.note(&format!("continued {}", second.pid()));
    second.signal(Signal::CONT);

    for process in [&mut publisher, &mut second, &mut third] {
        assert!(process.end().success(), "{}", process.said());
    }
    let mut account = scene.start(&["--role", "account"]);
    let status = account.end();
    println!("{}", account.said());

    let turns = turns::check(&trace(&scene));
    assert_eq!(turns.violations, Vec::<String>::new());
    let group = format!("{topic}-handlers");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let seen = runtime.block_on(Seen::in_file(&scene.database(), &group, workload()));
    assert_eq!(seen.wrong(), Vec::<String>::new());
    assert_dead_letters_are_the_workload_s(&seen);
    assert!(turns.late <= 1, "{} runs began after the pause without a promise", turns.late);
    // The service's own word is asked for last.
    assert!(status.success(), "its account does not add up");
    println!("{} records, {} effects, {} late runs", seen.records, seen.effects.len(), turns.late);
}
