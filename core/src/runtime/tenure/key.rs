//! What a key's tenure has beyond any other: its lease.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::store::LeaseRef;

pub(crate) struct OfKey {
    pub(crate) lease: LeaseRef,
    /// Rule T1: how many more events are marked before they run.
    marks_left: AtomicUsize,
    /// Events that ended under it (rule S9).
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
            marks_left: AtomicUsize::new(marks),
            ended: AtomicUsize::new(0),
            kept: false,
            over: AtomicBool::new(false),
        }
    }

    /// Of all keys, or of none.
    pub(crate) fn for_all(lease: LeaseRef) -> Self {
        Self { kept: true, ..Self::new(lease, 0) }
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }

    /// One more event under it; true when it is to be marked before it runs.
    pub(crate) fn comes(&self) -> bool {
        let left = |left: usize| left.checked_sub(1);
        self.marks_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
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
