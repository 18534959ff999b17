//! What a handler leaves behind while it runs. Made only for calls that ask for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Failure, Outcome};
use crate::store::Effect;

/// Shared between the arguments that record and the call's end that collects.
#[derive(Clone)]
pub(super) struct Recorder(Arc<Mutex<Option<Recorded>>>);

/// `None` in the recorder once the call is over.
#[derive(Default)]
struct Recorded {
    effects: Vec<Effect>,
    /// By item, each at most once.
    failures: Vec<(usize, Failure)>,
}

impl Recorder {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Some(Recorded::default()))))
    }

    /// Records a write; false when the call is over and nobody will look.
    #[must_use]
    pub(super) fn effect(&self, effect: Effect) -> bool {
        self.lock().as_mut().map(|open| open.effects.push(effect)).is_some()
    }

    /// Records the run's own transaction, before every write. False when the call is over.
    #[must_use]
    pub(super) fn own(&self, transaction: Effect) -> bool {
        self.lock().as_mut().map(|open| open.effects.insert(0, transaction)).is_some()
    }

    /// Records that an item failed; of several failures of one item the first counts. False when the
    /// call is over.
    #[must_use]
    pub(super) fn failure(&self, item: usize, failure: Failure) -> bool {
        let mut recorded = self.lock();
        let Some(open) = recorded.as_mut() else { return false };
        if !open.failures.iter().any(|(at, _)| *at == item) {
            open.failures.push((item, failure));
        }
        true
    }

    /// Ends the recording. Writes count only where no item failed (rule C6).
    pub(super) fn close(&self) -> Outcome {
        match self.lock().take() {
            Some(Recorded { failures, effects }) if failures.is_empty() => Outcome { failures, effects },
            Some(Recorded { failures, .. }) => Outcome { failures, effects: Vec::new() },
            None => Outcome::done(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Recorded>> {
        // Nothing in here can panic half-way, so a poisoned recorder is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
