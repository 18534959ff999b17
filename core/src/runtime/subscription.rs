//! What the tasks of one subscription share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::committer::Committer;
use super::leases::Leases;
use super::mailbox::Mailbox;
use super::settings::Settings;
use super::shard::ToShard;
use super::spread::{Passed, Share};
use super::tenure::Tenure;
use super::twins::Twins;
use super::{Item, Promise};
use crate::broker::{Consumer, Partition};
use crate::delivery::{Settled, Settlement};
use crate::env::Env;
use crate::error::Error;
use crate::event::Decoder;
use crate::handler::Begin;
use crate::lanes;
use crate::middleware::chain::Chain;
use crate::store::{ClaimRef, LeaseKey, LeaseRef, Parked, SessionId};

pub(crate) struct Subscription {
    pub(crate) index: usize,
    pub(crate) env: Env,
    pub(crate) settings: Settings,
    pub(crate) worker: Arc<str>,
    pub(crate) decoder: Decoder,
    pub(crate) chain: Chain,
    pub(crate) promise: Arc<Promise>,
    pub(crate) budget: Budget,
    /// One permit a running handler call.
    pub(crate) permits: Arc<Semaphore>,
    /// Places for events that are marked as started and not over (rule T1): as many as may run. A mark made long
    /// before its run would count the deaths of others against it.
    pub(crate) marks: Arc<Semaphore>,
    pub(crate) shards: Vec<Mailbox<ToShard>>,
    pub(crate) committer: Arc<Committer>,
    pub(crate) consumer: Arc<dyn Consumer>,
    /// The same, where several homes share one (rule S10).
    pub(crate) share: Option<Arc<Share>>,
    /// Ids in flight, where the ledger is by id (rule A3).
    pub(crate) twins: Option<Twins>,
    /// The keys, where the broker has no partitions.
    pub(crate) leases: Option<Leases>,
    /// How handlers open transactions of their own.
    pub(crate) begin: Begin,
    /// What the broker is to be told, where each delivery is settled on its own.
    pub(crate) settled: Mailbox<Settled>,
    /// Held while it is told.
    pub(crate) settling: tokio::sync::Mutex<()>,
    pub(crate) control: Mailbox<Control>,
    /// Partitions whose durable base moved: the broker is to be told.
    pub(crate) moved: Mailbox<Partition>,
    pub(crate) hasher: ahash::RandomState,
    tenures: Mutex<BTreeMap<Partition, Arc<Tenure>>>,
    /// Tenures of partitions that come to their end, while something of them is open.
    ending: Mutex<Vec<Weak<Tenure>>>,
    /// Partitions of which a claim is being asked for, begun or given back, and by how many tasks.
    busy: Mutex<BTreeMap<Partition, usize>>,
    /// Cancelled with an error when the subscription can't go on.
    pub(crate) stopped: CancellationToken,
    /// One permit a tenure that is being given up: a drain waits for all of them.
    pub(crate) leaving: Arc<Semaphore>,
    error: Mutex<Option<Error>>,
    halted: Mutex<BTreeMap<Partition, String>>,
}

/// What others tell the task that pulls.
pub(crate) enum Control {
    /// The worker has a new session: every tenure is gone, claim again.
    NewSession,
    /// Another worker wants this claim (rule S5).
    Wanted(ClaimRef),
    /// A commit found this claim gone (rule C1).
    Gone(ClaimRef),
    /// An operator said where to read on (rule L2); the claim under its new epoch.
    Repositioned(ClaimRef),
    /// These waited for a twin that is over: admit them anew (rules A2, A3).
    Again(Vec<Item>),
    /// These are to be admitted anew under another lease.
    Rejoin(Vec<Item>),
    /// A key's time with us is over: what waited for that is admitted anew (rule S6).
    KeyOver(Arc<Tenure>),
    /// A key's lease was not given back after all: what waited joins it.
    KeyKept(Arc<Tenure>),
    /// Leases that we wait for may be had.
    Freed(Vec<LeaseKey>),
    /// The leases that the store says we have (rule S7).
    Held(Vec<LeaseRef>),
    /// A partition's watermark moved on after a delivery did not fit its window.
    Room,
    /// An operator released these parked events (rule P3).
    Released(Vec<Parked>),
}

/// Rule C5: a transaction of its own waits for the commit before it, and `ahead` does not.
const AHEAD_HAS_NONE: &str = "handlers of a subscription with `ahead = true` have no transaction of their own: it could \
    wait for an earlier write of its key that waits for it; use `commit_with`, or leave `ahead` out";

/// More give-ups than this at a time wait for each other; nobody has so many partitions.
pub(crate) const LEAVING_MAX: usize = 1 << 20;

/// What a subscription is made of; the rest begins empty.
pub(crate) struct Parts {
    pub(crate) index: usize,
    pub(crate) env: Env,
    pub(crate) settings: Settings,
    pub(crate) worker: Arc<str>,
    pub(crate) chain: Chain,
    pub(crate) promise: Arc<Promise>,
    pub(crate) shards: usize,
    pub(crate) committer: Arc<Committer>,
    pub(crate) consumer: Arc<dyn Consumer>,
    /// The same, where several homes share one.
    pub(crate) share: Option<Arc<Share>>,
    /// One permit a running handler call, of all homes together.
    pub(crate) permits: Arc<Semaphore>,
    /// Its keys have leases.
    pub(crate) leased: bool,
}

impl Subscription {
    pub(crate) fn new(parts: Parts) -> Self {
        let settings = parts.settings;
        let source = settings.scope.source.clone();
        let decoder = Decoder::new(settings.rules.clone(), settings.name.clone(), source);
        let session = parts.committer.session();
        let begin = if settings.ahead { Begin::never(AHEAD_HAS_NONE) } else { parts.committer.begin() };
        let leases = parts.leased.then(|| {
            let (scope, name) = (settings.scope.clone(), settings.name.clone());
            Leases::new(&parts.env, scope, parts.index, name, settings.local, session, begin.clone())
        });
        let by_id = settings.ledger == super::settings::LedgerMode::Id;
        Self {
            index: parts.index,
            worker: parts.worker,
            decoder,
            chain: parts.chain,
            promise: parts.promise,
            budget: Budget::new(settings.budget),
            permits: parts.permits,
            marks: Arc::new(Semaphore::new(settings.concurrency)),
            shards: (0..parts.shards).map(|_| Mailbox::new()).collect(),
            committer: parts.committer,
            consumer: parts.consumer,
            share: parts.share,
            twins: by_id.then(|| Twins::new(&parts.env)),
            leases,
            begin,
            settled: Mailbox::new(),
            settling: tokio::sync::Mutex::new(()),
            control: Mailbox::new(),
            moved: Mailbox::new(),
            hasher: parts.env.hasher(),
            tenures: Mutex::new(BTreeMap::new()),
            ending: Mutex::default(),
            busy: Mutex::new(BTreeMap::new()),
            stopped: CancellationToken::new(),
            leaving: Arc::new(Semaphore::new(LEAVING_MAX)),
            error: Mutex::new(None),
            halted: Mutex::new(BTreeMap::new()),
            settings,
            env: parts.env,
        }
    }

    /// The seeded hash of an event's lane: partition and key (rule S8), or its id (rule L3).
    pub(crate) fn lane_hash(&self, envelope: &crate::event::Envelope) -> u64 {
        let meta = &envelope.meta;
        match &meta.key {
            Some(key) => self.hasher.hash_one((meta.place.partition, key)),
            None => self.hasher.hash_one((meta.place.partition, &meta.id)),
        }
    }

    /// Hands items, already counted as open, to the shards of their lanes.
    pub(crate) fn enter_lanes(&self, items: Vec<Item>) {
        if self.shards.len() == 1 {
            return self.shards[0].send(ToShard::Items(items));
        }
        let mut by_shard: Vec<Vec<Item>> = self.shards.iter().map(|_| Vec::new()).collect();
        for item in items {
            by_shard[lanes::shard_of(item.hash, self.shards.len())].push(item);
        }
        for (shard, items) in self.shards.iter().zip(by_shard) {
            if !items.is_empty() {
                shard.send(ToShard::Items(items));
            }
        }
    }

    /// Makes every shard look at its queue again: a tenure closed, or the promise came back.
    pub(crate) fn stir_shards(&self) {
        for shard in &self.shards {
            shard.send(ToShard::Look);
        }
    }

    pub(crate) fn tenures(&self) -> MutexGuard<'_, BTreeMap<Partition, Arc<Tenure>>> {
        self.tenures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A partition was paused for a tenure that ended at that very moment: if the next one has begun, its word counts.
    pub(crate) fn ended_while_held_back(&self, ended: &Arc<Tenure>) {
        let partition = ended.claimed().claim.partition;
        let tenures = self.tenures();
        let next = tenures.get(&partition).filter(|next| !Arc::ptr_eq(next, ended));
        if next.is_some_and(|next| !next.claimed().is_held_back()) {
            self.consumer.resume(Some(&[partition]));
        }
    }

    /// Takes the tenure of a claim out, if it is still the current one of its partition.
    pub(crate) fn forget_tenure(&self, claim: &ClaimRef) -> Option<Arc<Tenure>> {
        let mut tenures = self.tenures();
        tenures.get(&claim.partition).filter(|tenure| tenure.claimed().claim == *claim)?;
        tenures.remove(&claim.partition)
    }

    /// This tenure comes to its end. Given with those of its partition before it of which something may still
    /// run: the partition may have come back within their grace, and whoever has it next must wait for them as
    /// well (rule S5).
    pub(crate) fn ending(&self, tenure: &Arc<Tenure>) -> Vec<Arc<Tenure>> {
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        ending.retain(|other| other.upgrade().is_some_and(|other| !other.is_empty()));
        ending.push(Arc::downgrade(tenure));
        let partition = tenure.claimed().claim.partition;
        let all = ending.iter().filter_map(Weak::upgrade);
        all.filter(|other| other.claimed().claim.partition == partition).collect()
    }

    /// Waits for word that a partition was read without anything for this home; cancel-safe.
    pub(crate) async fn passed(&self) -> Passed {
        match &self.share {
            Some(share) => share.passed().await,
            None => std::future::pending().await,
        }
    }

    /// Below the base every record is to be seen once more, whomever it was for: the log is known again by one of them.
    pub(crate) fn show_finished(&self, tenure: &Tenure) {
        if let Some(share) = &self.share {
            let base = tenure.claimed().base();
            share.show_below(base.partition, base.epoch, base.offset);
        }
    }

    /// From now until the answer is dropped a claim of this partition is somebody's business.
    pub(crate) fn busy(self: &Arc<Self>, partition: Partition) -> Busy {
        *self.claims_in_work().entry(partition).or_default() += 1;
        Busy(self.clone(), partition)
    }

    pub(crate) fn is_busy(&self, partition: Partition) -> bool {
        self.claims_in_work().contains_key(&partition)
    }

    fn claims_in_work(&self) -> MutexGuard<'_, BTreeMap<Partition, usize>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The subscription can't go on; the first error is kept.
    pub(crate) fn stop(&self, error: Error) {
        let mut kept = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_none() {
            let error = error.context(format!("subscription {:?}", self.settings.name));
            tracing::error!(subscription = %self.settings.name, error = %format!("{error:?}"), "the subscription stops");
            *kept = Some(error);
        }
        drop(kept);
        self.stopped.cancel();
    }

    /// One partition can't go on until an operator acts (rule L2); the others do.
    pub(crate) fn halt(&self, partition: Partition, error: &Error) {
        tracing::error!(subscription = %self.settings.name, partition, %error, "the partition stops");
        self.consumer.pause(Some(&[partition]));
        self.halted.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, error.to_string());
    }

    /// The partition goes on after all.
    pub(crate) fn unhalt(&self, partition: Partition) {
        self.halted.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition);
    }

    /// The partitions that can't go on, with the reason.
    pub(crate) fn halted(&self) -> BTreeMap<Partition, String> {
        self.halted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything of this subscription is lost with the session before; what is taken from now on is under `next`.
    pub(crate) fn lose_all(&self, next: SessionId) {
        for tenure in self.tenures().values() {
            tenure.lose();
        }
        if let Some(leases) = &self.leases {
            leases.lose_all(next);
        }
        self.stir_shards();
    }

    /// Events of a tenure ended. What empties a key gives its lease back (rule S7).
    pub(crate) fn ended(self: &Arc<Self>, tenure: &Arc<Tenure>, n: usize) {
        if tenure.ended(n) {
            self.emptied(tenure);
        }
    }

    fn emptied(self: &Arc<Self>, tenure: &Arc<Tenure>) {
        let Some(of) = tenure.key() else { return };
        if of.is_over() || of.is_kept() {
            return;
        }
        if tenure.is_lost() {
            // The store has it already.
            self.key_over(tenure);
        } else {
            self.committer.give_back(tenure);
        }
    }

    /// The store has the lease back, or it was lost; nothing of it is open here.
    pub(crate) fn key_over(self: &Arc<Self>, tenure: &Arc<Tenure>) {
        let Some(leases) = &self.leases else { return };
        if !leases.tell(|| self.control.send(Control::KeyOver(tenure.clone()))) {
            self.send_back(leases.over(&self.budget, tenure));
        }
    }

    /// The lease was not given back after all.
    pub(crate) fn key_kept(self: &Arc<Self>, tenure: &Arc<Tenure>) {
        let Some(leases) = &self.leases else { return };
        if !leases.tell(|| self.control.send(Control::KeyKept(tenure.clone()))) {
            self.send_back(leases.kept(&self.budget, tenure));
        }
    }

    /// Events that never ran and are for others, because this worker drains.
    pub(crate) fn send_back(self: &Arc<Self>, items: Vec<Item>) {
        for mut item in items {
            self.budget.give_back(1, item.bytes as usize);
            if let Some(ticket) = item.ticket.take() {
                self.settled.send(ticket.settle(Settlement::Release));
            }
            if let (Some(leases), Some(parked)) = (&self.leases, item.released_from()) {
                leases.released(&parked);
            }
            if let Some(twins) = &self.twins {
                twins.ended(self, &item);
            }
            let tenure = item.tenure.clone();
            self.ended(&tenure, 1);
        }
    }

    pub(crate) fn take_error(&self) -> Option<Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// As long as it lives, somebody asks for, begins or gives back a claim of the partition.
pub(crate) struct Busy(Arc<Subscription>, Partition);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut busy = self.0.claims_in_work();
        if let Some(count) = busy.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                busy.remove(&self.1);
            }
        }
    }
}
