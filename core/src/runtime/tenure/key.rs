//! What a key's tenure has beyond any other: its lease.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::store::LeaseRef;

pub(crate) struct OfKey {
    pub(crate) lease: LeaseRef,
    /// Rule T1: how many events are marked before they run, and how many more of those that come.
    marks: usize,
    marks_to_come: AtomicUsize,
    /// Events that ended under it (rules S9 and T1).
    ended: AtomicUsize,
    /// It is not one key's: it is kept as long as its session.
    kept: bool,
    /// The store has it back.
    over: AtomicBool,
}

/// A key that another worker waits for is given up after so many events (rule S9).
const TURNS_MAX: usize = 64;

impl OfKey {
    pub(crate) fn new(lease: LeaseRef, marks: usize) -> Self {
        Self {
            lease,
            marks,
            marks_to_come: AtomicUsize::new(marks),
            ended: AtomicUsize::new(0),
            kept: false,
            over: AtomicBool::new(false),
        }
    }

    /// Of all keys, or of none.
    pub(crate) fn for_all(lease: LeaseRef) -> Self {
        Self { kept: true, ..Self::new(lease, 0) }
    }

    /// One that the store says is ours and under which nothing runs here: what it was granted with is not known.
    pub(crate) fn stray(lease: LeaseRef) -> Self {
        Self::new(lease, usize::MAX)
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }

    /// One more event under it; true when it is to be marked before it runs, if it may have been begun before.
    pub(crate) fn comes(&self) -> bool {
        let left = |left: usize| left.checked_sub(1);
        self.marks_to_come.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }

    /// Rule T1: the marks that are left for the next owner when `ending` more events end under it. Not what came
    /// counts: what goes elsewhere before it ran is to be marked there.
    pub(crate) fn marks_left(&self, ending: usize) -> u32 {
        if mutant!("t1-lease-comes-back-clean") {
            return 0;
        }
        let ended = self.ended.load(Ordering::Relaxed).saturating_add(ending);
        u32::try_from(self.marks.saturating_sub(ended)).unwrap_or(u32::MAX)
    }

    /// One event less to do under it.
    pub(crate) fn ends_one(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// It served its turn: who waits for the key is next.
    pub(crate) fn had_its_turn(&self) -> bool {
        self.ended.load(Ordering::Relaxed) >= TURNS_MAX && !mutant!("s9-never-yields")
    }

    /// The store has it back.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}
