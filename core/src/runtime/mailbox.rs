//! How the tasks of a worker hand each other batches: one lock and one wake-up a batch.
//!
//! A mailbox has no bound of its own. What can lie in all of them together is bounded by the
//! subscription's budget: nothing is pulled that the budget has no room for.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

pub(crate) struct Mailbox<T> {
    letters: Mutex<Vec<T>>,
    arrived: Notify,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Self {
        Self { letters: Mutex::new(Vec::new()), arrived: Notify::new() }
    }

    pub(crate) fn send(&self, letter: T) {
        self.lock().push(letter);
        self.arrived.notify_one();
    }

    pub(crate) fn send_all(&self, letters: impl IntoIterator<Item = T>) {
        self.lock().extend(letters);
        self.arrived.notify_one();
    }

    /// Takes everything that lies there, swapping in `empty` so that its allocation is used again.
    pub(crate) fn take_into(&self, empty: &mut Vec<T>) {
        debug_assert!(empty.is_empty(), "letters would be lost");
        std::mem::swap(&mut *self.lock(), empty);
    }

    /// Takes at most `n`, oldest first.
    pub(crate) fn take(&self, n: usize) -> Vec<T> {
        let mut letters = self.lock();
        let n = n.min(letters.len());
        letters.drain(..n).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Completes when something may lie there; cancel-safe. There is one reader.
    pub(crate) async fn wait(&self) {
        while self.is_empty() {
            self.arrived.notified().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<T>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
