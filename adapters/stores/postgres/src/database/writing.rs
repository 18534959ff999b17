//! Which commits with writes of handlers are under way: one that is late may have waited for another's locks.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many began, and how many ended.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Writing<'d> {
    pub(super) of: &'d UnderWay,
    /// How many began with it and before, of which so many had not ended.
    pub(super) before: (u64, u64),
}

impl UnderWay {
    pub(super) fn begin(&self) -> (u64, u64) {
        // Ended ones are counted first, so that one that ends meanwhile is still seen.
        let ended = self.ended.load(Ordering::SeqCst);
        let begun = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        (begun, begun - 1 - ended)
    }
}

impl Writing<'_> {
    /// Whether another was under way at any time since it began.
    pub(crate) fn had_others(&self) -> bool {
        let (begun, others) = self.before;
        others > 0 || self.of.begun.load(Ordering::SeqCst) > begun
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.of.ended.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(of: &UnderWay) -> Writing<'_> {
        Writing { of, before: of.begin() }
    }

    #[test]
    fn who_was_there_at_any_time_is_seen() {
        let all = UnderWay::default();
        let first = begin(&all);
        assert!(!first.had_others());
        let second = begin(&all);
        assert!(first.had_others() && second.had_others());
        drop(first);
        assert!(second.had_others(), "it was there");
        drop(second);
        assert!(!begin(&all).had_others());
    }
}
