//! A time in which this worker alone may run something: a partition, from a granted claim to its release or
//! loss, or a key, from a granted lease to its return.
//!
//! Everything that several tasks look at stands here: whether it is coming to an end, how many of its events
//! are open, and what is peculiar to a [partition](OfPartition) or a [key](OfKey).

mod key;
mod partition;

use std::cmp;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::handler::Scene;
use crate::store::{HoldCommit, LeaseCommit, Scope};
pub(crate) use key::OfKey;
pub(crate) use partition::{OfPartition, Progress};

pub(crate) struct Tenure {
    pub(crate) scene: Arc<Scene>,
    /// The number of this tenure's subscription within the worker.
    pub(crate) subscription: usize,
    /// What parked events are named with: the partition's generation, or the lease's token.
    pub(crate) generation: u64,
    /// Nothing new starts (revoked, wanted by another, drain).
    closing: AtomicBool,
    /// Nothing of it may be committed any more: the claim, the lease or the session is gone.
    lost: AtomicBool,
    /// Of [`Tenure::aborted`]: it is lost, or its grace is over. Few keys have handlers that
    /// wait.
    abort: OnceLock<CancellationToken>,
    /// Events in lanes, running, or waiting for their commit; with [`SEALED`].
    open: AtomicUsize,
    emptied: Notify,
    of: Of,
}

enum Of {
    Partition(Box<OfPartition>),
    Key(OfKey),
}

/// Set on `open`: no event may join, because the lease is on its way back (rule S6).
const SEALED: usize = 1 << (usize::BITS - 1);

impl Tenure {
    pub(crate) fn of_partition(
        generation: u64,
        scene: Arc<Scene>,
        subscription: usize,
        of: OfPartition,
    ) -> Self {
        Self::new(generation, scene, subscription, Of::Partition(Box::new(of)))
    }

    pub(crate) fn of_key(scene: Arc<Scene>, subscription: usize, of: OfKey) -> Self {
        Self::new(of.lease.token, scene, subscription, Of::Key(of))
    }

    fn new(generation: u64, scene: Arc<Scene>, subscription: usize, of: Of) -> Self {
        Self {
            scene,
            subscription,
            generation,
            closing: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            abort: OnceLock::new(),
            open: AtomicUsize::new(0),
            emptied: Notify::new(),
            of,
        }
    }

    /// The partition's part, where it is one's.
    pub(crate) fn partition(&self) -> Option<&OfPartition> {
        match &self.of {
            Of::Partition(of) => Some(of),
            Of::Key(_) => None,
        }
    }

    /// The same, of one of a subscription's claimed partitions.
    pub(crate) fn claimed(&self) -> &OfPartition {
        self.partition().expect("only partitions stand among the claimed")
    }

    /// The key's part, where it is one's.
    pub(crate) fn key(&self) -> Option<&OfKey> {
        match &self.of {
            Of::Partition(_) => None,
            Of::Key(of) => Some(of),
        }
    }

    /// Its part of a group in which `ending` events of it end: a partition's with all that is finished by now.
    pub(crate) fn commit(&self, give_back: bool, ending: usize) -> HoldCommit {
        match &self.of {
            Of::Partition(of) => HoldCommit::Claim(Box::new(of.snapshot())),
            Of::Key(of) => {
                let (lease, marks) = (of.lease.clone(), of.marks_left(ending));
                HoldCommit::Lease(LeaseCommit { lease, give_back, marks })
            }
        }
    }

    /// The order in which a group locks (rule C7): that of [`Hold`](crate::store::Hold).
    pub(crate) fn by_hold(&self, other: &Self) -> cmp::Ordering {
        match (&self.of, &other.of) {
            (Of::Partition(one), Of::Partition(two)) => one.claim.cmp(&two.claim),
            // Of one subscription, and so of one scope: three names need not be compared.
            (Of::Key(one), Of::Key(two)) if self.subscription == other.subscription => {
                (&one.lease.lease.key, one.lease.token).cmp(&(&two.lease.lease.key, two.lease.token))
            }
            (Of::Key(one), Of::Key(two)) => one.lease.cmp(&two.lease),
            (Of::Partition(_), Of::Key(_)) => cmp::Ordering::Less,
            (Of::Key(_), Of::Partition(_)) => cmp::Ordering::Greater,
        }
    }

    /// The fencing token: it only grows for a key.
    pub(crate) fn token(&self) -> u64 {
        match &self.of {
            Of::Partition(of) => of.claim.epoch,
            Of::Key(of) => of.lease.token,
        }
    }

    pub(crate) fn scope(&self) -> &Scope {
        match &self.of {
            Of::Partition(of) => &of.claim.scope,
            Of::Key(of) => &of.lease.lease.scope,
        }
    }

    /// True while its events may be started.
    pub(crate) fn may_start(&self) -> bool {
        // Whatever aborts it closes it first.
        !self.closing.load(Ordering::Acquire)
    }

    /// Starts nothing more, and tells running handlers that the end is near.
    pub(crate) fn close(&self) {
        self.yield_up();
        self.scene.cancelled.cancel();
    }

    /// Starts nothing more; what runs has its time.
    pub(crate) fn yield_up(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Nothing of it may be committed any more.
    pub(crate) fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        match &self.of {
            Of::Partition(_) => self.close(),
            // Its scene is that of all keys.
            Of::Key(_) => self.yield_up(),
        }
        self.abort();
    }

    /// Drops what runs at its next await.
    pub(crate) fn abort(&self) {
        self.aborted().cancel();
    }

    /// Cancelled when running handlers are to be dropped.
    pub(crate) fn aborted(&self) -> CancellationToken {
        self.abort.get_or_init(CancellationToken::new).clone()
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    pub(crate) fn opened(&self, n: usize) {
        self.open.fetch_add(n, Ordering::AcqRel);
    }

    /// One more event, unless nothing may join any more.
    pub(crate) fn join(&self) -> bool {
        let more =
            |open: usize| (open & SEALED == 0 || mutant!("s6-joins-while-it-goes")).then_some(open + 1);
        self.may_start() && self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    /// Lets nothing join any more, if no more than `n` events are open.
    pub(crate) fn seal(&self, n: usize) -> bool {
        self.open.compare_exchange(n, n | SEALED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Lets events join again.
    pub(crate) fn unseal(&self) {
        self.open.fetch_and(!SEALED, Ordering::AcqRel);
    }

    /// True when none is open any more.
    pub(crate) fn ended(&self, n: usize) -> bool {
        let before = self.open.fetch_sub(n, Ordering::AcqRel) & !SEALED;
        debug_assert!(before >= n, "an event ended that was never open");
        if before == n {
            self.emptied.notify_waiters();
        }
        before == n
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.load(Ordering::Acquire) & !SEALED == 0
    }

    /// Completes when none of its events is open; cancel-safe.
    pub(crate) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.is_empty() {
                return;
            }
            emptied.await;
        }
    }
}

/// Completes when none of their events is open; cancel-safe.
pub(crate) async fn all_empty(tenures: &[Arc<Tenure>]) {
    for tenure in tenures {
        tenure.empty().await;
    }
}
