//! What a partition's tenure has beyond any other: its claim, its watermark, and where it was found.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::broker::{Base, Consumer};
use crate::delivery::Delivery;
use crate::env::{Env, Set};
use crate::store::{AttemptRow, ClaimCommit, ClaimRef, Position, Witness};
use crate::text::Text;
use crate::watermark::{Watermark, Witnesses};

pub(crate) struct OfPartition {
    pub(crate) claim: ClaimRef,
    identity: Option<Text>,
    partitions: u32,
    /// Something finished that is not in the store's position yet.
    dirty: AtomicBool,
    /// The base that is durable: what the broker may be told.
    durable: AtomicU64,
    progress: Mutex<Progress>,
    /// How many reasons there are for its partition to be paused.
    held_back: AtomicUsize,
}

pub(crate) struct Progress {
    pub(crate) watermark: Watermark,
    pub(crate) witnesses: Witnesses,
    /// Events that were tried before this tenure began, by offset.
    pub(crate) tried: BTreeMap<u64, AttemptRow>,
    /// Rule T1: how many more deliveries are marked before they run.
    pub(crate) marks_left: usize,
    /// Parked events that were released and are in a lane now.
    pub(crate) releasing: Set<u64>,
    /// The record by which the log is known again, until it was read (rule L2).
    pub(crate) expected: Option<Witness>,
    /// Deliveries that did not fit the watermark's window; bounded by one pull.
    pub(crate) stalled: VecDeque<Delivery>,
}

impl Progress {
    /// Of a partition that can't be read.
    pub(crate) fn nothing(env: &Env) -> Self {
        Self {
            watermark: Watermark::new(0, 1),
            witnesses: Witnesses::new(None),
            tried: BTreeMap::new(),
            marks_left: 0,
            releasing: env.set(),
            expected: None,
            stalled: VecDeque::new(),
        }
    }
}

impl OfPartition {
    pub(crate) fn new(claim: ClaimRef, identity: Option<Text>, partitions: u32, progress: Progress) -> Self {
        let durable = AtomicU64::new(progress.watermark.base());
        Self {
            claim,
            identity,
            partitions,
            dirty: AtomicBool::new(false),
            durable,
            progress: Mutex::new(progress),
            held_back: AtomicUsize::new(0),
        }
    }

    pub(crate) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more reason to pause the partition, while polling goes on.
    pub(crate) fn hold_back(&self, consumer: &dyn Consumer) {
        if self.held_back.fetch_add(1, Ordering::AcqRel) == 0 {
            consumer.pause(Some(&[self.claim.partition]));
        }
    }

    pub(crate) fn is_held_back(&self) -> bool {
        self.held_back.load(Ordering::Acquire) > 0
    }

    /// One reason less. One that is ending has no say: the next may hold its partition back by now.
    pub(crate) fn let_go_on(&self, consumer: &dyn Consumer, ending: bool) {
        if self.held_back.fetch_sub(1, Ordering::AcqRel) == 1 && !ending {
            consumer.resume(Some(&[self.claim.partition]));
        }
    }

    /// Marks events finished that need no row of their own.
    /// True when that was news: it has to go into a group.
    #[must_use]
    pub(crate) fn finish_plain(&self, offsets: &[u64]) -> bool {
        let mut progress = self.progress();
        for offset in offsets {
            progress.watermark.finish(*offset);
        }
        drop(progress);
        !self.dirty.swap(true, Ordering::AcqRel)
    }

    /// Its part of the next group, with all that is finished by now.
    pub(crate) fn snapshot(&self) -> ClaimCommit {
        // Cleared before the snapshot is taken: what finishes meanwhile is in the next one for sure.
        self.dirty.store(false, Ordering::Release);
        let mut progress = self.progress();
        let base = progress.watermark.base();
        ClaimCommit {
            claim: self.claim.clone(),
            watermark: progress.watermark.clone(),
            witness: progress.witnesses.advance(base),
            identity: self.identity.clone(),
            partitions: self.partitions,
        }
    }

    /// A commit wrote this position, and these events of it are finished.
    pub(crate) fn committed(&self, position: &Position, offsets: &[u64]) {
        let mut progress = self.progress();
        for offset in offsets {
            progress.watermark.finish(*offset);
        }
        drop(progress);
        self.durable.fetch_max(position.base, Ordering::AcqRel);
    }

    /// What the broker may be told.
    pub(crate) fn base(&self) -> Base {
        Base {
            partition: self.claim.partition,
            epoch: self.claim.epoch,
            offset: self.durable.load(Ordering::Acquire),
        }
    }
}
