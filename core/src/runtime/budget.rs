//! What may be in memory: events in flight, and events that wait behind a failed one, each in messages and
//! bytes. At either bound the source is not pulled.
//!
//! An event counts as in flight when it arrives, and until its result is durable or it was dropped. While
//! its key backs off it is set aside: a few failing keys must not use up what the others run on.

use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Notify;

use super::settings::BudgetSettings;

pub(crate) struct Budget {
    flight: Allowance,
    waiting: Allowance,
    grew: Notify,
    /// Never ask for fewer: a pull per message would be slower than waiting a little.
    step: i64,
}

/// What is left of one bound; below zero for what came in the same pull as the last that fitted.
struct Allowance {
    all: i64,
    messages: AtomicI64,
    bytes: AtomicI64,
}

impl Budget {
    pub(crate) fn new(settings: BudgetSettings) -> Self {
        let flight = Allowance::new(settings.messages, settings.bytes);
        let step = (signed(settings.messages) / 8).clamp(1, 1024);
        let waiting = Allowance::new(settings.waiting_messages, settings.waiting_bytes);
        Self { flight, waiting, grew: Notify::new(), step }
    }

    /// How many deliveries may be asked for now; zero when it is not worth asking.
    pub(crate) fn credits(&self) -> usize {
        if mutant!("budget-is-ignored") {
            return 4096;
        }
        let messages = self.flight.messages.load(Ordering::Acquire);
        if messages < self.step || !self.flight.is_left() || !self.waiting.is_left() {
            return 0;
        }
        usize::try_from(messages).unwrap_or(0)
    }

    /// Deliveries that arrived.
    pub(crate) fn charge(&self, messages: usize, bytes: usize) {
        self.flight.take(messages, bytes);
    }

    /// In flight no more: finished, dead or dropped.
    pub(crate) fn give_back(&self, messages: usize, bytes: usize) {
        if messages == 0 && bytes == 0 {
            return;
        }
        self.flight.put(messages, bytes);
        self.grew.notify_one();
    }

    /// In flight no more: waits behind a failed event, or is one.
    pub(crate) fn set_aside(&self, messages: usize, bytes: usize) {
        if !mutant!("budget-without-what-waits") {
            self.waiting.take(messages, bytes);
        }
        self.give_back(messages, bytes);
    }

    /// Its turn has come: in flight again.
    pub(crate) fn take_up(&self, messages: usize, bytes: usize) {
        self.charge(messages, bytes);
        self.waiting.put(messages, bytes);
        self.grew.notify_one();
    }

    /// Completes when nothing is in flight and nothing waits; cancel-safe, one waiter.
    pub(crate) async fn empty(&self) {
        while !(self.flight.is_whole() && self.waiting.is_whole()) {
            self.grew.notified().await;
        }
    }

    /// Completes when there are credits; cancel-safe, one waiter.
    pub(crate) async fn available(&self) {
        while self.credits() == 0 {
            self.grew.notified().await;
        }
    }
}

impl Allowance {
    fn new(messages: usize, bytes: usize) -> Self {
        let all = signed(messages);
        Self { all, messages: AtomicI64::new(all), bytes: AtomicI64::new(signed(bytes)) }
    }

    fn is_whole(&self) -> bool {
        self.messages.load(Ordering::Acquire) >= self.all
    }

    fn is_left(&self) -> bool {
        self.messages.load(Ordering::Acquire) > 0 && self.bytes.load(Ordering::Acquire) > 0
    }

    fn take(&self, messages: usize, bytes: usize) {
        self.messages.fetch_sub(signed(messages), Ordering::AcqRel);
        self.bytes.fetch_sub(signed(bytes), Ordering::AcqRel);
    }

    fn put(&self, messages: usize, bytes: usize) {
        self.bytes.fetch_add(signed(bytes), Ordering::AcqRel);
        self.messages.fetch_add(signed(messages), Ordering::AcqRel);
    }
}

fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Budget {
        Budget::new(BudgetSettings {
            messages: 100,
            bytes: 1000,
            per_key: 100,
            waiting_messages: 10,
            waiting_bytes: 500,
            window: 100,
        })
    }

    #[test]
    fn bytes_stop_the_source_as_messages_do() {
        let budget = budget();
        assert_eq!(budget.credits(), 100);
        budget.charge(10, 1000);
        assert_eq!(budget.credits(), 0);
        budget.give_back(0, 1);
        assert_eq!(budget.credits(), 90);
        budget.charge(90, 0);
        assert_eq!(budget.credits(), 0);
    }

    #[test]
    fn what_waits_is_not_in_flight_and_has_a_cap_of_its_own() {
        let budget = budget();
        budget.charge(9, 100);
        budget.set_aside(9, 100);
        assert_eq!(budget.credits(), 100);
        budget.charge(1, 1);
        budget.set_aside(1, 1);
        assert_eq!(budget.credits(), 0, "ten wait");
        budget.take_up(1, 1);
        assert_eq!(budget.credits(), 99);
        budget.charge(1, 399);
        budget.set_aside(1, 400);
        assert_eq!(budget.credits(), 0, "500 bytes wait");
    }
}
