//! What the mix of a seed is turned towards, so that a situation that is rare otherwise is common.
//!
//! A rule that is broken only in such a situation would take thousands of wide seeds to be noticed.

use std::time::Duration;

use crate::mix::{Ledger, Mix};
use crate::world::{Chance, World};

/// What a seed's mix is turned towards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    /// Nothing in particular: everything may happen.
    Wide,
    /// Answers to renewals come late, then none come, while handlers take about as long as a session lives (S4).
    Late,
    /// Handlers outlive the grace, while partitions and keys move in order from worker to worker (S5).
    Grace,
    /// Three workers want one key all the time, and nothing goes wrong (S9).
    Line,
    /// One worker dies, and after it all leave in order, in the middle of their handlers (T1).
    Leave,
}

/// What befalls a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Crash,
    Freeze,
    Calendar,
    NoStore,
    NoBroker,
    /// It does not hear that it has to share; only its store can tell it (rule S5).
    Deaf,
    Stop,
    Mute,
    Late,
    Newcomer,
    Nothing,
}

/// In the order of their numbers: what a seed draws depends on it.
const FAULTS: [Fault; 11] = [
    Fault::Crash,
    Fault::Freeze,
    Fault::Calendar,
    Fault::NoStore,
    Fault::NoBroker,
    Fault::Deaf,
    Fault::Stop,
    Fault::Mute,
    Fault::Late,
    Fault::Newcomer,
    Fault::Nothing,
];

impl Focus {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Wide, Self::Late, Self::Grace, Self::Line, Self::Leave];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wide => "wide",
            Self::Late => "late",
            Self::Grace => "grace",
            Self::Line => "line",
            Self::Leave => "leave",
        }
    }

    /// The focus of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|focus| focus.name() == name)
    }

    /// What this seed draws: two in three are wide.
    pub(crate) fn drawn(seed: u64) -> Self {
        // Not the mix's own sequence, so that a seed draws the same mix when its focus is given.
        match Chance::new(seed ^ 0x0066_6f63_7573).below(12) {
            0 => Self::Late,
            1 => Self::Grace,
            2 => Self::Line,
            3 => Self::Leave,
            _ => Self::Wide,
        }
    }

    /// Turns a mix towards it.
    pub(crate) fn turn(self, mix: &mut Mix) {
        mix.focus = self;
        if self == Self::Wide {
            return;
        }
        mix.local = false;
        // One that kills has a story of its own, in which nothing else may happen.
        mix.fatal = false;
        if self != Self::Line {
            // Handlers are slow on purpose; one that waits for another's write as well would exceed its limit.
            mix.hot = false;
            mix.effect_hangs = 0;
            if mix.ledger == Ledger::Off {
                // All that comes again is handled again, which takes these handlers too long.
                mix.ledger = Ledger::Id;
            }
        }
        match self {
            Self::Wide => {}
            Self::Late => {
                mix.pause_max = Duration::from_secs(3);
                // Else nothing starts behind a commit that gets no answer.
                mix.ahead = true;
            }
            Self::Grace => mix.pause_max = Duration::from_millis(3_500),
            Self::Line => {
                (mix.hot, mix.narrow, mix.workers) = (true, true, 3);
            }
            Self::Leave => {
                mix.pause_max = Duration::from_millis(3_500);
                // One worker dies, so an event may be found as started by the dead once; twice is one time too many.
                mix.crashes_max = 2;
                // What is lost by a connection, or not written or handed back in time, does not end in order.
                mix.handback_max = Duration::from_secs(5);
                mix.store.refused = 0;
                mix.store.answer_lost = 0;
                mix.broker.severed = 0;
                mix.broker.settle_refused = 0;
            }
        }
    }

    /// How many faults there are.
    pub(crate) fn rounds(self, world: &World) -> u64 {
        match self {
            Self::Wide => world.random(6),
            Self::Late | Self::Grace => 2 + world.random(4),
            Self::Line => world.random(2),
            Self::Leave => 4 + world.random(5),
        }
    }

    /// The fault of this round.
    pub(crate) fn fault(self, round: u64, world: &World) -> Fault {
        let one_of =
            |faults: &[Fault]| faults[usize::try_from(world.random(faults.len() as u64)).unwrap_or(0)];
        match self {
            Self::Wide => one_of(&FAULTS),
            Self::Late => one_of(&[Fault::Late, Fault::Late, Fault::Late, Fault::NoStore, Fault::Newcomer]),
            Self::Grace => one_of(&[Fault::Newcomer, Fault::Stop, Fault::Deaf]),
            Self::Line => one_of(&[Fault::NoBroker, Fault::Nothing]),
            Self::Leave if round == 0 => Fault::Crash,
            Self::Leave => one_of(&[Fault::Stop, Fault::Newcomer]),
        }
    }
}
