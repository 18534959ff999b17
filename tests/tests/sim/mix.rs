//! What one seed draws: which features a service uses, and what goes wrong around it.

use std::time::Duration;

use keylane_tests::faults::{BrokerFaults, StoreFaults};
use keylane_tests::sim::Chance;

/// How often an event is tried where its attempts can end.
pub(super) const ATTEMPTS_MAX: u32 = 4;

/// One seed's mix. Chances are in thousandths.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mix {
    seed: u64,
    /// The ledger is by position, and nothing is published twice.
    pub(super) position: bool,
    /// Handlers take batches (rule C6).
    pub(super) batch: bool,
    /// Handlers don't wait for the writes before them (rule C5's opt-in), and so don't always see them.
    pub(super) ahead: bool,
    /// Each call has a task of its own.
    pub(super) spawned: bool,
    /// Attempts can end, and some events can never be handled.
    pub(super) skip: bool,
    /// A call takes up to this long.
    pub(super) pause_max: Duration,
    pub(super) handler_fails: u64,
    /// A recorded write fails (rule C3).
    pub(super) effect_fails: u64,
    /// A recorded write lets the whole commit fail (rule C4).
    pub(super) commit_fails: u64,
    /// How long the broker waits for a handback.
    pub(super) handback_max: Duration,
    pub(super) store: StoreFaults,
    pub(super) broker: BrokerFaults,
}

impl Mix {
    pub(super) fn of(seed: u64) -> Self {
        // Not the world's own sequence: a draw more here must not change what happens there.
        let mut chance = Chance::new(seed ^ 0x6d69_7874_7572_6573);
        let mut one_in = |n: u64| chance.below(n) == 0;
        let mut mix = Self {
            seed,
            position: one_in(2),
            batch: one_in(4),
            ahead: one_in(4),
            spawned: one_in(4),
            skip: one_in(3),
            pause_max: Duration::from_millis(if one_in(3) { 1_500 } else { 20 }),
            handler_fails: if one_in(4) { 0 } else { 100 },
            effect_fails: if one_in(2) { 0 } else { 60 },
            commit_fails: if one_in(3) { 20 } else { 0 },
            handback_max: Duration::from_millis(if one_in(2) { 500 } else { 5_000 }),
            store: StoreFaults::default(),
            broker: BrokerFaults::default(),
        };
        if !one_in(5) {
            mix.store = StoreFaults { latency_max: Duration::from_millis(8), refused: 10, answer_lost: 15 };
        }
        if !one_in(3) {
            let slow = if one_in(2) { Duration::from_millis(50) } else { Duration::ZERO };
            mix.broker =
                BrokerFaults { pull_latency_max: slow, pull_refused: 30, severed: 15, commit_refused: 100 };
        }
        mix
    }

    /// An event that no try can handle: every ninth or so, where dead letters are made.
    pub(super) fn is_poison(&self, key: u64, number: u64) -> bool {
        self.skip && (self.seed + key * 31 + number * 17).is_multiple_of(9)
    }

    /// Calls take longer than events need to arrive.
    pub(super) fn is_slow(&self) -> bool {
        self.pause_max > Duration::from_secs(1)
    }

    pub(super) fn toml(&self) -> String {
        let ahead = self.ahead;
        let mode = if self.position { "position" } else { "id" };
        let (attempts, exhausted) = if self.skip { (ATTEMPTS_MAX, "skip") } else { (1000, "stop") };
        format!(
            r#"
            [runtime]
            shards = 2
            session = "3s"
            grace = "1s"
            handover_max = "4s"
            drain_max = "2s"
            [store.memory]
            [broker.main.memory]
            [subscription.orders]
            source = "orders"
            concurrency = 4
            ahead = {ahead}
            timeout = "10s"
            [subscription.orders.ledger]
            mode = "{mode}"
            [subscription.orders.retry]
            attempts_max = {attempts}
            delay = "20ms"
            delay_max = "200ms"
            on_exhausted = "{exhausted}"
            crashes_max = 100
            "#
        )
    }
}
