//! The simulation: two workers and their replacements on the memory broker and the memory store, in virtual
//! time, under a seed that decides which task goes on, what is late, refused, cut, frozen, killed.
//!
//! Each seed draws its [`mix`](mix::Mix) of features and faults. The simulation's own eyes hold the
//! [`history`] against what must be true at every moment, and the [`account`] against the end.

mod account;
mod handlers;
mod history;
mod mix;
mod story;

use std::time::Duration;

use mix::Mix;
use story::{KEYS, Stage};

/// Runs one seed; the trace, or what is broken.
fn run(seed: u64, each: u64) -> Result<Vec<String>, String> {
    let mix = Mix::of(seed);
    let mut stage = Stage::new(seed, mix);
    stage.publish(each);
    for _ in 0..stage.world.random(6) {
        stage.pass(Duration::from_millis(stage.world.random(1_000)));
        stage.disturb();
    }
    let expected = usize::try_from(each * KEYS).unwrap_or(0);
    let limit = stage.world.now() + Duration::from_secs(300);
    while stage.account().len() < expected && stage.world.now() < limit {
        stage.pass(Duration::from_secs(1));
        stage.replace_dead();
    }
    // Time for what should not come any more.
    stage.pass(Duration::from_secs(5));
    let account = stage.account();
    let mut wrong = account.check(&mix, Stage::published(each), &stage.history.seen());
    wrong.extend(stage.history.seen().wrong.iter().cloned());
    let trace = stage.world.trace();
    stage.end();
    if wrong.is_empty() {
        Ok(trace)
    } else {
        wrong.truncate(10);
        Err(format!("seed {seed} ({mix:?}):\n{}\n{}", wrong.join("\n"), tail(&trace)))
    }
}

fn tail(trace: &[String]) -> String {
    let from = if one_seed().is_some() { 0 } else { trace.len().saturating_sub(60) };
    trace[from..].join("\n")
}

/// `KEYLANE_SIM_SEED=n` tells the story of that seed alone, `KEYLANE_SIM_SEEDS=n` runs so many.
fn one_seed() -> Option<u64> {
    std::env::var("KEYLANE_SIM_SEED").ok()?.parse().ok()
}

fn seeds() -> u64 {
    std::env::var("KEYLANE_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1000)
}

#[test]
fn sim_a_thousand_seeds_keep_the_promises() {
    let (from, count) = one_seed().map_or((0, seeds()), |seed| (seed, 1));
    if one_seed().is_some() {
        tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG).init();
    }
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                scope.spawn(move || {
                    let mine = (from..from + count).filter(|seed| seed % threads == part);
                    mine.filter_map(|seed| run(seed, 12).err()).take(3).collect::<Vec<_>>()
                })
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("a seed panicked")).collect()
    });
    assert!(wrong.is_empty(), "{} seeds are broken\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn sim_the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        let (first, second) = (run(seed, 8), run(seed, 8));
        assert_eq!(first, second, "seed {seed}");
        assert!(first.is_ok_and(|trace| trace.len() > 60), "seed {seed} has next to no trace");
    }
}
