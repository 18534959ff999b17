//! The simulation: two workers and their replacements on simulated brokers and the memory store, in virtual
//! time, under a seed that decides which task goes on, what is late, refused, cut, frozen, killed.
//!
//! It lives in `keylane-sim`; what runs here is a part of it that every commit must pass.

use keylane_sim::{Focus, Options, Profile, Told, run, sweep};

/// `KEYLANE_SIM_SEED=n` tells the story of that seed alone, `KEYLANE_SIM_SEEDS=n` runs so many.
fn one_seed() -> Option<u64> {
    std::env::var("KEYLANE_SIM_SEED").ok()?.parse().ok()
}

fn seeds() -> u64 {
    std::env::var("KEYLANE_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1000)
}

fn words(told: &Told) -> String {
    let from = if one_seed().is_some() { 0 } else { told.trace.len().saturating_sub(60) };
    format!(
        "seed {} ({}):\n{}\n{}",
        told.seed,
        told.mix,
        told.trace[from..].join("\n"),
        told.wrong.join("\n")
    )
}

#[test]
fn sim_a_thousand_seeds_keep_the_promises() {
    let (from, count) = one_seed().map_or((0, seeds()), |seed| (seed, 1));
    if one_seed().is_some() {
        tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG).init();
    }
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let swept = sweep(from, count, Options::default(), threads, 3);
    println!("{} seeds, {:.1} simulated hours", swept.seeds, swept.hours());
    let wrong: Vec<String> = swept.broken.iter().map(words).collect();
    assert!(wrong.is_empty(), "{} seeds are broken\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn sim_the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        let options = Options { each: 8, ..Options::default() };
        let (first, second) = (run(seed, options), run(seed, options));
        assert_eq!(first, second, "seed {seed}");
        assert!(first.trace.len() > 60, "seed {seed} has next to no trace");
    }
}

fn mended(profile: Profile, focus: Focus, seed: u64) {
    let told = run(seed, Options { profile: Some(profile), focus: Some(focus), ..Options::default() });
    assert!(told.wrong.is_empty(), "{profile}, {focus:?}: {}", words(&told));
}

/// Seeds that showed a mistake once.
#[test]
fn sim_seeds_that_were_broken_are_mended() {
    for (profile, seed) in [
        // A waiter whose session was lost never asked again.
        (Profile::Queue, 44),
        // An event that came back to the lobby counted twice under its id, and its twins waited for ever.
        (Profile::Queue, 56),
        (Profile::Queue, 97),
        // A twin that only waited ended the one that ran (A3).
        (Profile::Log, 362),
        // A lease that nobody knew of was given back twice in one group (C7).
        (Profile::Visibility, 86),
        (Profile::Visibility, 377),
        (Profile::Ordered, 86),
        // Who had nothing left to do of a key stood in its line and let it rest (S9).
        (Profile::Visibility, 337),
        (Profile::Visibility, 297),
        // A key's lease stayed for ever, because a try was noted in the group that was to give it back (S7).
        (Profile::Ordered, 218),
        (Profile::Queue, 181),
        // Marks of events that had gone back to their keys took all places (T1).
        (Profile::Ordered, 201),
        (Profile::Ordered, 423),
        // Two workers gave a hot key to each other without doing anything of it (S9).
        (Profile::Queue, 1314),
        // A worker that had left in order was counted as one that waits (S9).
        (Profile::Queue, 200_056),
        // Who gave a lease back that somebody else had left uncleanly left it clean, and the one that kills came unmarked
        // to the next one (T1).
        (Profile::Visibility, 310_662),
        (Profile::Queue, 34),
        (Profile::Ordered, 111),
        // A letter that was never written, because its worker was cut off, and whose successor had begun already.
        (Profile::Ordered, 1_004_779),
    ] {
        mended(profile, Focus::Wide, seed);
    }
    // A partition came back within the grace of its earlier tenure, and left again before that was over (S5).
    mended(Profile::Log, Focus::Grace, 1585);
    // A tenure that had ended paused its partition for a hot key, which the next one read by then: nobody let it go on.
    mended(Profile::Log, Focus::Line, 817_229);
    // Who waited for twins was admitted one after the other, with a call each.
    mended(Profile::Ordered, Focus::Late, 10556);
}
