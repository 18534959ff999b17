//! One partition's time with this worker: from a granted claim to its release or loss.
//!
//! Everything of a partition that several tasks look at stands here: its epoch, its watermark, how many
//! of its events are open, and whether it is coming to an end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::broker::{Base, Consumer};
use crate::delivery::Delivery;
use crate::env::{Env, Set};
use crate::handler::Scene;
use crate::store::{AttemptRow, ClaimCommit, ClaimRef, Position, Witness};
use crate::text::Text;
use crate::watermark::{Watermark, Witnesses};

pub(crate) struct Tenure {
    pub(crate) claim: ClaimRef,
    pub(crate) scene: Arc<Scene>,
    /// The number of this tenure's subscription within the worker.
    pub(crate) subscription: usize,
    /// The partition's generation, which parked events are named with.
    pub(crate) generation: u64,
    identity: Option<Text>,
    partitions: u32,
    /// Nothing new starts (revoked, wanted by another, drain).
    closing: AtomicBool,
    /// Nothing of it may be committed any more: the claim or the session is gone.
    lost: AtomicBool,
    /// Cancelled when running handlers are to be dropped: it is lost, or its grace is over.
    pub(crate) abort: CancellationToken,
    /// Events in lanes, running, or waiting for their commit.
    open: AtomicUsize,
    emptied: Notify,
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

impl Tenure {
    pub(crate) fn new(
        claim: ClaimRef,
        generation: u64,
        scene: Arc<Scene>,
        subscription: usize,
        identity: Option<Text>,
        partitions: u32,
        progress: Progress,
    ) -> Self {
        let durable = AtomicU64::new(progress.watermark.base());
        Self {
            claim,
            generation,
            scene,
            subscription,
            identity,
            partitions,
            closing: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            abort: CancellationToken::new(),
            open: AtomicUsize::new(0),
            emptied: Notify::new(),
            dirty: AtomicBool::new(false),
            durable,
            progress: Mutex::new(progress),
            held_back: AtomicUsize::new(0),
        }
    }

    pub(crate) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True while its events may be started.
    pub(crate) fn may_start(&self) -> bool {
        // Whatever aborts it closes it first.
        !self.closing.load(Ordering::Acquire)
    }

    /// Starts nothing more, and tells running handlers that the end is near.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.scene.cancelled.cancel();
    }

    /// Nothing of it may be committed any more.
    pub(crate) fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.close();
        self.abort.cancel();
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    pub(crate) fn opened(&self, n: usize) {
        self.open.fetch_add(n, Ordering::AcqRel);
    }

    pub(crate) fn ended(&self, n: usize) {
        let before = self.open.fetch_sub(n, Ordering::AcqRel);
        debug_assert!(before >= n, "an event ended that was never open");
        if before == n {
            self.emptied.notify_waiters();
        }
    }

    /// Completes when none of its events is open; cancel-safe.
    pub(crate) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.open.load(Ordering::Acquire) == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// One more reason to pause its partition, while polling goes on.
    pub(crate) fn hold_back(&self, consumer: &dyn Consumer) {
        if self.held_back.fetch_add(1, Ordering::AcqRel) == 0 {
            consumer.pause(Some(&[self.claim.partition]));
        }
    }

    /// One reason less.
    pub(crate) fn let_go_on(&self, consumer: &dyn Consumer) {
        // One that is ending has no say: the next may hold its partition back by now.
        if self.held_back.fetch_sub(1, Ordering::AcqRel) == 1 && self.may_start() {
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
