//! Which faults come when: all of it from the seed, so that the same seed is the same plan.

use std::fmt;
use std::time::Duration;

use keylane_tests::sim::Chance;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL to a worker, and another in its place.
    Kill,
    /// SIGSTOP to a worker for longer than its session lives, then SIGCONT.
    Stop,
    /// One more worker.
    Add,
    /// SIGTERM to a worker.
    Drain,
    /// A worker is cut off from the broker.
    CutBroker,
    /// A worker is cut off from the store.
    CutStore,
    /// A worker's link to the broker is slow.
    SlowBroker,
    /// A worker's link to the store is slow.
    SlowStore,
    /// The database ends every connection of workers (`pg_terminate_backend`).
    Terminate,
    /// The database is shut down at once, and started again.
    StoreShut,
    /// SIGKILL to the database, which is started again.
    StoreKill,
    /// SIGKILL to the broker, which is started again.
    BrokerKill,
}

impl Kind {
    /// Kinds for which no server is needed.
    pub const PROCESS: [Self; 4] = [Self::Kill, Self::Stop, Self::Add, Self::Drain];

    /// Its name in tables and lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "worker killed",
            Self::Stop => "worker stopped",
            Self::Add => "worker added",
            Self::Drain => "worker drained",
            Self::CutBroker => "cut off from the broker",
            Self::CutStore => "cut off from the store",
            Self::SlowBroker => "slow link to the broker",
            Self::SlowStore => "slow link to the store",
            Self::Terminate => "connections terminated",
            Self::StoreShut => "database shut down",
            Self::StoreKill => "database killed",
            Self::BrokerKill => "broker killed",
        }
    }

    /// True when the wait that it causes counts from its end: nobody can do anything before. Otherwise from
    /// its beginning: others can take over at once.
    #[must_use]
    pub const fn counts_from_its_end(self) -> bool {
        matches!(
            self,
            Self::StoreShut | Self::StoreKill | Self::BrokerKill | Self::SlowBroker | Self::SlowStore
        )
    }

    /// What a server takes to start again, beside the time that it lies dead.
    const fn takes_to_start(self) -> Duration {
        match self {
            Self::StoreShut | Self::StoreKill => Duration::from_secs(2),
            Self::BrokerKill => Duration::from_secs(8),
            _ => Duration::ZERO,
        }
    }

    /// Of so many draws.
    const fn weight(self) -> u64 {
        match self {
            Self::Kill | Self::Stop => 3,
            Self::CutBroker | Self::CutStore => 2,
            _ => 1,
        }
    }
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What happens.
    pub kind: Kind,
    /// When, since the first event was published.
    pub at: Duration,
    /// How long it lasts: the pause, the cut, the outage, the time until there is another worker.
    pub lasts: Duration,
    /// The worker's place, where it is about one.
    pub place: Option<usize>,
    /// A cut link: whether its connections stay open and just carry nothing.
    pub mute: bool,
    /// After a drain: whether another worker comes in its place.
    pub replaced: bool,
}

impl Fault {
    /// One for a plan that is not drawn; its time is given by [`Plan::of`].
    #[must_use]
    pub fn of(kind: Kind, place: Option<usize>, lasts: Duration) -> Self {
        Self { kind, at: Duration::ZERO, lasts, place, mute: false, replaced: false }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8.1}s  {}", self.at.as_secs_f64(), self.kind.name())?;
        if let Some(place) = self.place {
            write!(f, ", worker {place}")?;
        }
        if self.mute && matches!(self.kind, Kind::CutBroker | Kind::CutStore) {
            write!(f, ", mute")?;
        }
        write!(f, ", {:.1}s", self.lasts.as_secs_f64())
    }
}

/// Workers at first,
pub const WORKERS: usize = 3;
/// and places for them, so that there can be one more.
pub const PLACES: usize = 4;

/// Faults, and the time around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Faults in the order of time.
    pub faults: Vec<Fault>,
    /// From one to the next.
    pub gap: Duration,
    /// Quiet at the beginning: what throughput is compared with.
    pub quiet: Duration,
}

impl Plan {
    /// Draws `n` faults of these kinds, for workers whose session lives so long.
    #[must_use]
    pub fn draw(seed: u64, n: usize, kinds: &[Kind], session: Duration) -> Self {
        let mut chance = Chance::of(seed, "faults", 0);
        let gap = session * 2 + Duration::from_secs(1);
        let quiet = Duration::from_secs(8);
        let mut fourth = false;
        let mut at = quiet;
        let mut faults = Vec::with_capacity(n);
        for _ in 0..n {
            let mut kind = pick(&mut chance, kinds);
            // No more workers than there are places.
            if kind == Kind::Add && fourth {
                kind = Kind::Drain;
            }
            let worker = chance.below(WORKERS as u64 + u64::from(fourth)) as usize;
            let (place, replaced) = match kind {
                Kind::Add => (Some(WORKERS), false),
                Kind::Drain if fourth => (Some(WORKERS), false),
                Kind::Drain => (Some(worker), true),
                Kind::Terminate | Kind::StoreShut | Kind::StoreKill | Kind::BrokerKill => (None, false),
                _ => (Some(worker), false),
            };
            match kind {
                Kind::Add => fourth = true,
                Kind::Drain => fourth = false,
                _ => {}
            }
            let lasts = lasts(&mut chance, kind, session);
            let mute = chance.below(2) == 1;
            faults.push(Fault { kind, at, lasts, place, mute, replaced });
            at += gap + kind.takes_to_start();
        }
        Self { faults, gap, quiet }
    }

    /// These faults and no others, one after the other.
    #[must_use]
    pub fn of(faults: &[Fault], gap: Duration, quiet: Duration) -> Self {
        let placed = (0..).zip(faults).map(|(nth, fault)| Fault { at: quiet + gap * nth, ..fault.clone() });
        Self { faults: placed.collect(), gap, quiet }
    }

    /// How long events are published.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        self.faults.last().map_or(self.quiet, |last| last.at + self.gap + last.kind.takes_to_start())
    }
}

fn pick(chance: &mut Chance, kinds: &[Kind]) -> Kind {
    let mut drawn = chance.below(kinds.iter().map(|kind| kind.weight()).sum());
    for kind in kinds {
        match drawn.checked_sub(kind.weight()) {
            Some(rest) => drawn = rest,
            None => return *kind,
        }
    }
    Kind::Kill
}

fn lasts(chance: &mut Chance, kind: Kind, session: Duration) -> Duration {
    let mut within = |from: u64, to: u64| Duration::from_millis(from + chance.below(to - from));
    match kind {
        Kind::Kill | Kind::Drain => within(0, 800),
        Kind::Stop => session + within(200, 1_000),
        // Now and then shorter than the session's life: a hiccup, not a takeover.
        Kind::CutBroker | Kind::CutStore => match within(0, 3_000) {
            short if short < Duration::from_secs(1) => Duration::from_millis(200) + short / 2,
            _ => session + within(200, 1_000),
        },
        Kind::SlowBroker | Kind::SlowStore => within(1_500, 3_000),
        Kind::StoreShut | Kind::StoreKill | Kind::BrokerKill => within(200, 1_500),
        Kind::Add | Kind::Terminate => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Duration = Duration::from_secs(2);

    #[test]
    fn the_same_seed_is_the_same_plan_and_another_is_another() {
        let plan = |seed| Plan::draw(seed, 200, &Kind::PROCESS, SESSION);
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn every_kind_comes_and_a_stop_outlives_the_session() {
        let plan = Plan::draw(3, 200, &Kind::PROCESS, SESSION);
        for kind in Kind::PROCESS {
            assert!(plan.faults.iter().any(|fault| fault.kind == kind), "{} never comes", kind.name());
        }
        for fault in plan.faults {
            assert!(fault.kind != Kind::Stop || fault.lasts > SESSION);
            assert!(fault.lasts < plan.gap, "a fault is over before the next");
        }
    }

    #[test]
    fn there_are_never_more_workers_than_places_nor_fewer_than_three() {
        for seed in 0..50 {
            let mut workers = WORKERS;
            for fault in Plan::draw(seed, 200, &Kind::PROCESS, SESSION).faults {
                match fault.kind {
                    Kind::Add => workers += 1,
                    Kind::Drain if !fault.replaced => workers -= 1,
                    _ => {}
                }
                assert!((WORKERS..=PLACES).contains(&workers));
            }
        }
    }
}
