//! What a story is told on: a pair, a plan of faults, and the evidence that is left.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use keylane_chaos::broker::BrokerKind;
use keylane_chaos::check::{Happened, History};
use keylane_chaos::clock;
use keylane_chaos::driver::{Options, Outcome, run};
use keylane_chaos::plan::{Fault, Plan};
use keylane_chaos::store::StoreKind;
use keylane_chaos::workload::{self, Numbered};

/// A broker and a store.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) broker: BrokerKind,
    pub(crate) store: StoreKind,
}

pub(crate) const SESSION: Duration = Duration::from_secs(2);

pub(crate) struct Stage {
    folder: tempfile::TempDir,
    pub(crate) options: Options,
}

impl Stage {
    /// With the faults of a story, some seconds apart.
    pub(crate) fn new(pair: Pair, faults: &[Fault]) -> Self {
        Self::of(pair, 1_000, Plan::of(faults, SESSION * 3, Duration::from_secs(4)))
    }

    /// With a plan.
    pub(crate) fn of(pair: Pair, events: u64, plan: Plan) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let options = Options {
            broker: pair.broker,
            store: pair.store,
            events,
            seed: seed(),
            long: workload::LONG,
            plan,
            session: SESSION,
            drain_max: Duration::from_secs(120),
            program: PathBuf::from(env!("CARGO_BIN_EXE_keylane-chaos")),
            folder: folder.path().join("evidence"),
            chatty: true,
        };
        Self { folder, options }
    }

    /// Runs it; no promise may be broken. What a failure leaves is kept.
    pub(crate) fn run(self) -> Outcome {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let outcome = runtime.block_on(run(&self.options)).expect("it can be run");
        if !outcome.verdict.holds() {
            let kept = self.folder.keep();
            panic!("{:#?}\nevidence: {}", outcome.verdict.findings, kept.display());
        }
        outcome
    }
}

/// Another one each time, unless the environment gives it.
fn seed() -> u64 {
    let given = std::env::var("KEYLANE_CHAOS_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| u64::from(std::process::id()) * 7919 + clock::now() % 1_000)
}

/// Keys of which a worker wrote an effect, within a time.
pub(crate) fn keys_of(history: &History, pid: u32, from: u64, until: u64) -> BTreeSet<String> {
    let effects = history.effects.iter().filter(|effect| effect.worker == pid);
    let within = effects.filter(|effect| (from..until).contains(&effect.at));
    within.filter_map(|effect| Numbered::of(&effect.id)).map(|event| event.key).collect()
}

/// Keys that were this worker's shortly before the fault and another's after it, and how long it took until the
/// first of them was handled there.
pub(crate) fn moved(history: &History, fault: &Happened) -> (usize, f64) {
    const SHORTLY: u64 = 2_000_000_000;
    let pid = fault.pid.expect("a fault of a worker");
    let had = keys_of(history, pid, fault.from - SHORTLY, fault.from);
    let elsewhere = history.effects.iter().filter(|effect| effect.worker != pid && effect.at > fault.from);
    let mut keys = BTreeSet::new();
    let mut first = f64::INFINITY;
    for effect in elsewhere {
        let Some(Numbered { key, .. }) = Numbered::of(&effect.id) else { continue };
        if had.contains(&key) && keys.insert(key) {
            first = first.min(clock::seconds(effect.at - fault.from));
        }
    }
    (keys.len(), first)
}
