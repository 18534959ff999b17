//! What may be in flight: messages and bytes. At the bound the source is not pulled.
//!
//! Charged when a delivery arrives, given back when its result is durable or it was dropped.

use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Notify;

pub(crate) struct Budget {
    messages: AtomicI64,
    bytes: AtomicI64,
    grew: Notify,
    /// Never ask for fewer: a pull per message would be slower than waiting a little.
    step: i64,
}

impl Budget {
    pub(crate) fn new(messages: usize, bytes: usize) -> Self {
        let messages = i64::try_from(messages).unwrap_or(i64::MAX);
        Self {
            messages: AtomicI64::new(messages),
            bytes: AtomicI64::new(i64::try_from(bytes).unwrap_or(i64::MAX)),
            grew: Notify::new(),
            step: (messages / 8).clamp(1, 1024),
        }
    }

    /// How many deliveries may be asked for now; zero when it is not worth asking.
    pub(crate) fn credits(&self) -> usize {
        let messages = self.messages.load(Ordering::Acquire);
        if messages < self.step || self.bytes.load(Ordering::Acquire) <= 0 {
            return 0;
        }
        usize::try_from(messages).unwrap_or(0)
    }

    pub(crate) fn charge(&self, messages: usize, bytes: usize) {
        self.messages.fetch_sub(signed(messages), Ordering::AcqRel);
        self.bytes.fetch_sub(signed(bytes), Ordering::AcqRel);
    }

    pub(crate) fn give_back(&self, messages: usize, bytes: usize) {
        if messages == 0 && bytes == 0 {
            return;
        }
        self.bytes.fetch_add(signed(bytes), Ordering::AcqRel);
        self.messages.fetch_add(signed(messages), Ordering::AcqRel);
        self.grew.notify_one();
    }

    /// Completes when there are credits; cancel-safe, one waiter.
    pub(crate) async fn available(&self) {
        while self.credits() == 0 {
            self.grew.notified().await;
        }
    }
}

fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stop_the_source_as_messages_do() {
        let budget = Budget::new(100, 1000);
        assert_eq!(budget.credits(), 100);
        budget.charge(10, 1000);
        assert_eq!(budget.credits(), 0);
        budget.give_back(0, 1);
        assert_eq!(budget.credits(), 90);
        budget.charge(90, 0);
        assert_eq!(budget.credits(), 0);
    }
}
