//! One seed, from its first event to what is held against its end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Duration;

use crate::focus::Focus;
use crate::handlers::PANIC;
use crate::mix::Mix;
use crate::profile::Profile;
use crate::story::Stage;

/// How a seed is run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// On this kind of broker; else as the seed draws.
    pub profile: Option<Profile>,
    /// Turned towards this; else as the seed draws.
    pub focus: Option<Focus>,
    /// So many events of each key.
    pub each: u64,
    /// A rule broken on purpose.
    pub mutant: Option<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        Self { profile: None, focus: None, each: 12, mutant: None }
    }
}

/// What a seed told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Which.
    pub seed: u64,
    /// Virtual time from beginning to end.
    pub time: Duration,
    /// What it drew.
    pub mix: String,
    /// What is broken; nothing, if all promises were kept.
    pub wrong: Vec<String>,
    /// Time, worker, what.
    pub trace: Vec<String>,
}

/// Once all faults have ended and all is published, everything is over after so long: a session must run out, a
/// claim change hands, a deadline pass, and the longest queue of slow handlers be worked off.
const DRAINED_WITHIN: Duration = Duration::from_secs(240);

/// With nothing left to do for so long, a worker renews its session, compares its leases, and listens.
const QUIET: Duration = Duration::from_secs(6);

/// Calls of the store that an idle worker may make in a second.
const QUIET_CALLS_MAX: u32 = 12;

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, options: Options) -> Told {
    hide_simulated_panics();
    crate::mutants::choose(options.mutant);
    let mix = Mix::of(seed, options.profile, options.focus);
    let mut told =
        Told { seed, time: Duration::ZERO, mix: format!("{mix:?}"), wrong: Vec::new(), trace: Vec::new() };
    let mut stage = Stage::new(seed, mix);
    let ended = catch_unwind(AssertUnwindSafe(|| tell(&mut stage, mix, options.each)));
    told.wrong = match ended {
        Ok(wrong) => wrong,
        Err(panic) => vec![format!("panicked: {}", words(&*panic))],
    };
    told.wrong.extend(stage.history.seen().wrong.iter().cloned());
    told.trace = stage.world.trace();
    told.time = stage.world.now();
    // What a panic left behind may panic again.
    drop(catch_unwind(AssertUnwindSafe(|| stage.end())));
    crate::mutants::choose(None);
    told
}

fn tell(stage: &mut Stage, mix: Mix, each: u64) -> Vec<String> {
    stage.publish(each);
    for round in 0..mix.focus.rounds(&stage.world) {
        stage.pass(Duration::from_millis(stage.world.random(1_000)));
        stage.disturb(round);
    }
    stage.calm();
    let published = stage.all(each);
    let mut wrong = drain(stage, &published);
    work_off(stage);
    // A worker that was cut off has in hand what others finished, and asks again when its wait is over.
    let quiet_from = (stage.world.now() + QUIET / 2).as_secs() + 1;
    // Time for what should not come any more.
    stage.pass(QUIET / 2 + QUIET);
    if mix.releases {
        let_go(stage);
    }
    if wrong.is_empty() {
        wrong.extend(at_rest(stage, quiet_from));
    }
    if stage.world.spins() {
        wrong.push("time stands still: some task wakes itself for ever".to_owned());
        return wrong;
    }
    let account = stage.account();
    wrong.extend(account.check(&mix, &published, &stage.history.seen()));
    wrong
}

/// After the faults everything is worked off, within a bound.
fn drain(stage: &mut Stage, published: &[crate::event::Event]) -> Vec<String> {
    while !stage.is_published() && !stage.world.spins() {
        stage.pass(Duration::from_secs(1));
        stage.replace_dead();
    }
    let limit = stage.world.now() + DRAINED_WITHIN;
    loop {
        if stage.world.spins() {
            return Vec::new();
        }
        let missing = stage.account().missing(published);
        let unsettled = stage.unsettled();
        let leased = if stage.is_leased() { stage.leased() } else { Vec::new() };
        if missing.is_empty() && unsettled.is_empty() && leased.is_empty() {
            return Vec::new();
        }
        if stage.world.now() >= limit {
            let stuck = |events: &[crate::event::Event]| {
                events.iter().take(5).map(ToString::to_string).collect::<Vec<_>>().join(", ")
            };
            return vec![format!(
                "{DRAINED_WITHIN:?} after the last fault: {} not done ({}), {} not settled ({}), leases of {leased:?}",
                missing.len(),
                stuck(&missing),
                unsettled.len(),
                stuck(&unsettled)
            )];
        }
        stage.pass(Duration::from_secs(1));
        stage.replace_dead();
    }
}

/// What was taken from a worker by its broker and finished elsewhere is run there to its end all the same.
fn work_off(stage: &mut Stage) {
    let limit = stage.world.now() + DRAINED_WITHIN;
    while stage.history.runs() > 0 && stage.world.now() < limit && !stage.world.spins() {
        stage.pass(Duration::from_secs(1));
    }
}

/// Several workers may have been told of a released letter. Each handles it, one after the other, though the first
/// was quicker (P2).
fn let_go(stage: &mut Stage) {
    let limit = stage.world.now() + DRAINED_WITHIN;
    while stage.is_leased() && !stage.leased().is_empty() && stage.world.now() < limit {
        stage.pass(QUIET);
    }
}

/// With nothing to do, nothing is held and next to nothing is asked.
fn at_rest(stage: &Stage, quiet_from: u64) -> Vec<String> {
    let mut wrong = Vec::new();
    let quiet_for = stage.world.now().as_secs().saturating_sub(quiet_from) + 1;
    for node in stage.running() {
        let calls = stage.history.calls_since(node, quiet_from);
        let most = QUIET_CALLS_MAX * u32::try_from(quiet_for).unwrap_or(1);
        if calls > most {
            wrong.push(format!("node {node} has nothing to do and calls its store {calls} times"));
        }
    }
    if stage.is_leased() {
        let leased = stage.leased();
        if !leased.is_empty() {
            wrong.push(format!("with nothing left to do, there are leases: {}", leased.join(", ")));
        }
    }
    wrong
}

fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Panics of simulated handlers are part of the story, and no news.
fn hide_simulated_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let simulated = info.payload().downcast_ref::<&str>().is_some_and(|text| *text == PANIC);
            if !simulated {
                before(info);
            }
        }));
    });
}
