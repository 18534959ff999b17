//! What one seed draws: which broker and which features a service uses, and what goes wrong around it.

use std::time::Duration;

use crate::event::Event;
use crate::faults::{BrokerFaults, StoreFaults};
use crate::focus::Focus;
use crate::profile::Profile;
use crate::server::ServerFaults;
use crate::world::Chance;

/// How often an event is tried where its attempts can end.
pub(crate) const ATTEMPTS_MAX: u32 = 4;

/// How many deaths an event survives in a story about one that kills.
pub(crate) const CRASHES_MAX: u32 = 3;

/// The same where nothing is meant to be dead of it.
const CRASHES_ANY: u32 = 100;

/// One seed's mix. Chances are in thousandths.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    pub(crate) seed: u64,
    /// The kind of broker.
    pub profile: Profile,
    /// What the mix is turned towards.
    pub focus: Focus,
    /// What is known of finished events.
    pub ledger: Ledger,
    /// Keys are locked within a worker only: nothing is promised across workers but that effects are there once.
    pub local: bool,
    /// Handlers take batches (rule C6).
    pub batch: bool,
    /// Handlers don't wait for the writes before them (rule C5's opt-in), and so don't always see them.
    pub ahead: bool,
    /// Each call has a task of its own.
    pub spawned: bool,
    /// Attempts can end, and some events can never be handled.
    pub skip: bool,
    /// Some events come with another payload under the same id (rule L4).
    pub conflicts: bool,
    /// One event kills its worker whenever it is handled (rule T1).
    pub fatal: bool,
    /// How many deaths an event survives.
    pub(crate) crashes_max: u32,
    /// How many workers begin.
    pub(crate) workers: usize,
    /// Budgets are so small that they are met.
    pub narrow: bool,
    /// One key has many times the events of the others.
    pub hot: bool,
    /// An operator releases dead letters.
    pub releases: bool,
    /// A call takes up to this long.
    pub pause_max: Duration,
    /// Handlers fail: transiently, or because something they need is away.
    pub handler_fails: u64,
    /// Handlers panic.
    pub handler_panics: u64,
    /// Handlers take longer than their limit.
    pub handler_hangs: u64,
    /// A recorded write fails (rule C3).
    pub effect_fails: u64,
    /// A recorded write lets the whole commit fail (rule C4).
    pub commit_fails: u64,
    /// A recorded write never ends (rule S3).
    pub effect_hangs: u64,
    /// How long the broker waits for a handback.
    pub handback_max: Duration,
    /// How long a delivery may be unsettled, where deliveries have a deadline.
    pub visible_for: Duration,
    /// What the store does.
    pub store: StoreFaults,
    /// What the way to the broker does.
    pub broker: BrokerFaults,
    /// What a broker without partitions does.
    pub server: ServerFaults,
}

/// `ledger.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ledger {
    /// By id.
    Id,
    /// By position.
    Position,
    /// None: at least once is all that is promised.
    Off,
}

impl Mix {
    /// What this seed draws; of this profile and focus, if they are asked for.
    #[must_use]
    pub fn of(seed: u64, profile: Option<Profile>, focus: Option<Focus>) -> Self {
        // Not the world's own sequence: a draw more here must not change what happens there.
        let mut chance = Chance::new(seed ^ 0x6d69_7874_7572_6573);
        let mut one_in = |n: u64| chance.below(n) == 0;
        let drawn = match (one_in(2), one_in(2)) {
            (true, true) => Profile::Queue,
            (true, false) => Profile::Visibility,
            (false, true) => Profile::Ordered,
            (false, false) => Profile::Log,
        };
        let profile = profile.unwrap_or(drawn);
        let mut mix = Self {
            seed,
            profile,
            focus: Focus::Wide,
            ledger: match (profile, one_in(2), one_in(4)) {
                (Profile::Log, true, _) => Ledger::Position,
                (Profile::Queue, _, true) => Ledger::Off,
                _ => Ledger::Id,
            },
            local: one_in(6) && profile.is_leased(),
            batch: one_in(4),
            ahead: one_in(4),
            spawned: one_in(4),
            skip: one_in(3),
            conflicts: one_in(6),
            fatal: one_in(12),
            crashes_max: CRASHES_ANY,
            workers: 2,
            narrow: one_in(5),
            hot: one_in(10),
            releases: one_in(2),
            pause_max: Duration::from_millis(if one_in(3) { 1_500 } else { 20 }),
            handler_fails: if one_in(4) { 0 } else { 100 },
            handler_panics: if one_in(3) { 20 } else { 0 },
            handler_hangs: if one_in(6) { 5 } else { 0 },
            effect_fails: if one_in(2) { 0 } else { 60 },
            commit_fails: if one_in(3) { 20 } else { 0 },
            effect_hangs: if one_in(6) { 5 } else { 0 },
            handback_max: Duration::from_millis(if one_in(2) { 500 } else { 5_000 }),
            visible_for: Duration::from_secs(if one_in(2) { 8 } else { 20 }),
            store: StoreFaults { commits_at_once: 3, ..StoreFaults::default() },
            broker: BrokerFaults::default(),
            server: ServerFaults::default(),
        };
        if !one_in(5) {
            let latency_max = Duration::from_millis(8);
            mix.store = StoreFaults { latency_max, refused: 10, answer_lost: 15, ..mix.store };
        }
        if !one_in(3) {
            mix.broker = BrokerFaults {
                pull_latency_max: if one_in(2) { Duration::from_millis(50) } else { Duration::ZERO },
                pull_refused: 30,
                severed: 15,
                commit_refused: 100,
                settle_refused: 20,
            };
            mix.server = ServerFaults { cut: 15, again: 30, again_settled: 20 };
        }
        focus.unwrap_or_else(|| Focus::drawn(seed)).turn(&mut mix);
        mix.agree();
        mix
    }

    /// Takes back what would contradict something else, or would make a story that proves nothing.
    fn agree(&mut self) {
        // Two payloads of one id are told apart by the ledger by id.
        self.conflicts &= self.ledger == Ledger::Id && !self.local;
        // Who kills is known by the marks that others find; without a common lock they are nobody's.
        self.fatal &= !self.local && self.ledger != Ledger::Off;
        if self.fatal {
            self.crashes_max = CRASHES_MAX;
            // Dead is what kills, and nothing else.
            self.skip = true;
            self.spawned = false;
            self.batch = false;
        }
        self.releases &= self.skip && !self.fatal;
        self.hot &= self.profile.is_leased() && !self.local;
        if self.hot {
            // Many events, so short ones.
            self.pause_max = self.pause_max.min(Duration::from_millis(20));
        }
        // With `stop`, an event whose write never ends would stop everything in the end.
        self.effect_hangs = if self.skip { 0 } else { self.effect_hangs };
    }

    /// Every event has one effect or is one dead letter: all that a ledger is for.
    #[must_use]
    pub fn is_once(&self) -> bool {
        self.ledger != Ledger::Off
    }

    /// The effects of a key are in its order.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        self.profile.is_ordered() && !self.local && self.is_once()
    }

    /// An event that no try can handle: every ninth or so, where dead letters are made.
    #[must_use]
    pub fn is_poison(&self, event: Event) -> bool {
        !self.fatal && self.skip && (self.seed + event.key * 31 + event.number * 17).is_multiple_of(9)
    }

    /// An event that is published with another payload as well, under the same id.
    #[must_use]
    pub fn is_conflicted(&self, event: Event) -> bool {
        self.conflicts && (self.seed + event.key * 13 + event.number * 7).is_multiple_of(8)
    }

    /// The event that kills who handles it.
    #[must_use]
    pub fn is_fatal(&self, event: Event) -> bool {
        self.fatal && event == Event::new(self.seed % 3, 2 + self.seed % 4)
    }

    /// How many events a key gets, where the others get `each`.
    #[must_use]
    pub fn events_of(&self, key: u64, each: u64) -> u64 {
        if self.hot && key == 0 { each * 20 } else { each }
    }

    /// Calls take longer than events need to arrive.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.pause_max > Duration::from_secs(1)
    }

    /// How many deliveries may be in a worker's memory.
    #[must_use]
    pub fn unsettled_max(&self) -> usize {
        let messages = if self.narrow { MESSAGES_NARROW } else { 8192 };
        let waiting = if self.narrow { WAITING_NARROW } else { 65536 };
        messages + waiting
    }

    /// The configuration of a worker.
    #[must_use]
    pub fn toml(&self) -> String {
        let ahead = self.ahead;
        let mode = match self.ledger {
            Ledger::Id => "id",
            Ledger::Position => "position",
            Ledger::Off => "off",
        };
        let (attempts, exhausted) = if self.skip { (ATTEMPTS_MAX, "skip") } else { (1000, "stop") };
        let attempts = if self.fatal { 1000 } else { attempts };
        let crashes = self.crashes_max;
        let lock = if self.local { "lock = \"local\"" } else { "" };
        let broker = if self.profile.is_leased() { "sim" } else { "memory" };
        let budget = if self.narrow {
            format!("messages_max = {MESSAGES_NARROW}\nwaiting_max = {WAITING_NARROW}")
        } else {
            String::new()
        };
        format!(
            r#"
            [runtime]
            shards = 2
            session = "3s"
            grace = "1s"
            handover_max = "4s"
            drain_max = "2s"
            [store.memory]
            [broker.main.{broker}]
            [subscription.orders]
            source = "orders"
            concurrency = 4
            ahead = {ahead}
            timeout = "4s"
            {lock}
            [subscription.orders.budget]
            {budget}
            [subscription.orders.ledger]
            mode = "{mode}"
            [subscription.orders.retry]
            attempts_max = {attempts}
            delay = "20ms"
            delay_max = "200ms"
            on_exhausted = "{exhausted}"
            crashes_max = {crashes}
            "#
        )
    }
}

const MESSAGES_NARROW: usize = 8;
const WAITING_NARROW: usize = 12;
