//! The checker: pure. A history goes in, as different hands wrote it; what was broken comes out, and the figures.
//!
//! The publisher says what was published, the table of effects what was done, the workers' own lines who ran
//! what when and what their sessions were promised, the driver who died when and which fault came when. The
//! runtime's own word is asked for dead letters alone, and each is a breach.

mod exclusive;
mod once;
mod order;
mod promise;
mod recovery;
#[cfg(test)]
mod tests;
mod throughput;

use std::collections::BTreeMap;

use crate::clock::Nanos;
use crate::plan::Kind;
use crate::store::Effect;
use crate::turns::Life;
use crate::workload::Numbered;

pub use recovery::Recovery;
pub use throughput::Throughput;

/// An event that the broker confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// It.
    pub event: Numbered,
    /// When it was sent to the broker, by the call that was confirmed.
    pub at: Nanos,
}

/// A fault as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// Which.
    pub kind: Kind,
    /// The worker it was about.
    pub pid: Option<u32>,
    /// When it began.
    pub from: Nanos,
    /// When it was over: the worker went on or was replaced, the link was whole, the server answered.
    pub until: Nanos,
}

/// All that is known of a run.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// What was published, in order.
    pub published: Vec<Published>,
    /// What was done, in the order of the store's sequence.
    pub effects: Vec<Effect>,
    /// What each process did.
    pub lives: BTreeMap<u32, Life>,
    /// When processes ended.
    pub deaths: BTreeMap<u32, Nanos>,
    /// Processes that ended without having been asked to, or not well.
    pub unasked: Vec<String>,
    /// The faults.
    pub faults: Vec<Happened>,
    /// Ids of dead letters.
    pub dead: Vec<String>,
    /// How long a session lives.
    pub session: Nanos,
    /// Whether the broker keeps order.
    pub ordered: bool,
    /// The quiet time before the first fault.
    pub quiet: (Nanos, Nanos),
    /// From one fault to the next.
    pub gap: Nanos,
    /// When there were as many effects as events; `None`: not within the bound.
    pub finished: Option<Nanos>,
}

/// How a promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Breach {
    /// An event has no effect, and later ones of its key have, or it is a dead letter.
    Lost,
    /// An event has more than one effect, or an effect belongs to no event.
    Doubled,
    /// An event of a key was done, or begun, after a later one.
    OutOfOrder,
    /// Two runs of a key at the same time, while both were promised it.
    Overlapping,
    /// A run began while its process had no promise, and had not been held up either.
    Unpromised,
    /// An effect of a worker that had been replaced: its key was run under a greater fencing token before.
    Stale,
    /// An event was not finished within the bound.
    Stuck,
    /// A process ended by itself, or did not end when told to.
    Ended,
    /// The evidence does not fit together.
    Evidence,
}

impl Breach {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 9] = [
        Self::Lost,
        Self::Doubled,
        Self::OutOfOrder,
        Self::Overlapping,
        Self::Unpromised,
        Self::Stale,
        Self::Stuck,
        Self::Ended,
        Self::Evidence,
    ];

    /// Its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::OutOfOrder => "out of order",
            Self::Overlapping => "overlapping",
            Self::Unpromised => "unpromised",
            Self::Stale => "by a replaced one",
            Self::Stuck => "stuck",
            Self::Ended => "ended unasked",
            Self::Evidence => "evidence amiss",
        }
    }
}

/// One breach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Of what.
    pub breach: Breach,
    /// Where, and how it is known.
    pub about: String,
}

impl Finding {
    fn new(breach: Breach, about: String) -> Self {
        Self { breach, about }
    }
}

/// What is to be said of a run.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Events published.
    pub published: usize,
    /// Effects found.
    pub effects: usize,
    /// Runs of handlers.
    pub runs: usize,
    /// Every breach.
    pub findings: Vec<Finding>,
    /// Runs that a process began right after it had been held up, not knowing that its promise was over: it
    /// can't know, and none of them committed.
    pub late: usize,
    /// Runs of a key that others overlapped after their own promise was over.
    pub outlived: usize,
    /// By kind of fault.
    pub recovery: BTreeMap<Kind, Recovery>,
    /// The same figure in the quiet time.
    pub undisturbed: Nanos,
    /// Against the quiet time.
    pub throughput: Throughput,
}

impl Verdict {
    /// Judges.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let promises = promise::Promises::of(history);
        let exclusive = exclusive::check(history, &promises);
        let (recovered, undisturbed) = recovery::of(history);
        let mut findings = once::check(history);
        findings.extend(order::check(history, &promises));
        findings.extend(exclusive.findings);
        findings.extend(history.unasked.iter().map(|what| Finding::new(Breach::Ended, what.clone())));
        Self {
            published: history.published.len(),
            effects: history.effects.len(),
            runs: history.lives.values().map(|life| life.turns.len()).sum(),
            findings,
            late: exclusive.late,
            outlived: exclusive.outlived,
            recovery: recovery::by_kind(&recovered),
            undisturbed,
            throughput: Throughput::of(history, &recovered),
        }
    }

    /// How many of a sort.
    #[must_use]
    pub fn count(&self, breach: Breach) -> usize {
        self.findings.iter().filter(|finding| finding.breach == breach).count()
    }

    /// True when no promise was broken.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.findings.is_empty()
    }
}
