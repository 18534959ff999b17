//! Two processes share a group on Kafka: one is killed, one is paused for longer than its promise lasts.

use std::time::{Duration, Instant};

use crate::eyes::{Seen, published_in_log};
use crate::kills::{Moments, assert_dead_letters_are_the_workload_s};
use crate::process::{Orders, Scene};
use crate::turns;

const SIZE: [&str; 2] = ["--orders", "6000"];

/// When the keys of a paused process are with another for sure: its session with the store lives for one
/// second, the one with Kafka for six.
const TAKEN_AFTER: Duration = Duration::from_secs(9);

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
    let begun = worker.until(|| turns::begun(&trace(scene), pid) >= runs);
    assert!(begun, "worker {pid} ended before it had begun {runs} runs:\n{}", worker.said());
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
    let mut publisher = scene.start(&[&SIZE[..], &["--role", "publish"]].concat());
    assert!(publisher.end().success(), "{}", publisher.said());

    let work = ["--role", "work"];
    let (mut first, mut second) = (scene.start(&work), scene.start(&work));
    until_begun(&scene, &mut first, 1);
    until_begun(&scene, &mut second, 1);

    let runs = turns::begun(&trace(&scene), first.pid());
    until_begun(&scene, &mut first, runs + moments.below(300) as usize);
    assert!(first.kill(), "{}", first.said());
    scene.note(&format!("killed {}", first.pid()));

    let mut third = scene.start(&work);
    until_begun(&scene, &mut third, 1 + moments.below(300) as usize);
    second.pause();
    scene.note(&format!("paused {}", second.pid()));
    let paused = Instant::now();
    // Beyond its promise, and until its partitions are with the other, which goes on meanwhile.
    let (third_pid, long) = (third.pid(), TAKEN_AFTER);
    let runs = turns::begun(&trace(&scene), third_pid);
    let went_on = third.until(|| paused.elapsed() > long && turns::begun(&trace(&scene), third_pid) > runs);
    assert!(went_on, "worker {third_pid} ended without the events of the paused one:\n{}", third.said());
    scene.note(&format!("continued {}", second.pid()));
    second.signal("CONT");

    for worker in [&mut second, &mut third] {
        assert!(worker.end().success(), "{}", worker.said());
    }
    let mut account = scene.start(&["--role", "account"]);
    assert!(account.end().success(), "{}", account.said());

    let turns = turns::check(&trace(&scene));
    assert_eq!(turns.violations, Vec::<String>::new());
    let group = format!("{topic}-handlers");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let seen = runtime.block_on(Seen::in_file(&scene.database(), &group, workload()));
    assert_eq!(seen.wrong(), Vec::<String>::new());
    assert_dead_letters_are_the_workload_s(&seen);
    assert!(turns.late <= 1, "{} runs began after the pause without a promise", turns.late);
    println!("{} records, {} effects, {} late runs", seen.records, seen.effects.len(), turns.late);
}
