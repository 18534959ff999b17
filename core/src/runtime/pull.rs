//! The pull task of a subscription: deliveries and assignment changes in, items out to the lanes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::partitions::{self, Partitions};
use super::shard::yield_once;
use super::subscription::{Control, Subscription};
use super::{Item, admit, intake};
use crate::broker::{Change, Partition, Pulled};
use crate::delivery::Delivery;
use crate::error::Error;
use crate::store::{ClaimRef, Parked, Store};

pub(crate) struct Puller {
    sub: Arc<Subscription>,
    store: Arc<dyn Store>,
    partitions: Partitions,
    /// What the broker says is ours, each with the token of its claiming.
    assigned: BTreeMap<Partition, CancellationToken>,
    /// Cancelled when the worker drains: nothing more is pulled.
    draining: CancellationToken,
}

/// So many deliveries are asked for at a time. What runs soon after it was read is still in the processor's
/// cache, which is worth more than larger batches.
const PULL_MAX: usize = 256;

/// The same where each pull asks the store about its events: then larger batches are worth more.
const ADMIT_MAX: usize = 2048;

/// How long to wait after a pull failed, at first and at most.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(5);

impl Puller {
    pub(crate) fn new(
        sub: Arc<Subscription>,
        store: Arc<dyn Store>,
        partitions: Partitions,
        draining: CancellationToken,
    ) -> Self {
        Self { sub, store, partitions, assigned: BTreeMap::new(), draining }
    }

    /// Runs until the worker drains, the subscription stops, or its environment drops it.
    pub(crate) async fn run(mut self) {
        if let Some(leases) = self.sub.leases.as_ref().filter(|leases| leases.local) {
            admit::leased::take_local(&self.sub, &*self.store, leases).await;
        }
        self.pull().await;
        self.leave_keys();
        // Nothing that is still being claimed may be won any more.
        for token in self.assigned.values() {
            token.cancel();
        }
    }

    async fn pull(&mut self) {
        let sub = self.sub.clone();
        let mut wait = AGAIN_AFTER;
        let asks = sub.twins.is_some() || sub.leases.is_some();
        let most = if asks { ADMIT_MAX } else { PULL_MAX };
        loop {
            // Biased: an end before anything else, then what others said, then new work.
            let pulled = tokio::select! { biased;
                () = self.draining.cancelled() => return,
                () = sub.stopped.cancelled() => return,
                () = sub.control.wait() => {
                    self.read_controls().await;
                    continue;
                }
                passed = sub.passed() => {
                    intake::pass(&sub, &passed);
                    continue;
                }
                () = sub.budget.available(), if sub.budget.credits() == 0 => continue,
                // Without credits only assignment changes come.
                pulled = sub.consumer.pull(sub.budget.credits().min(most)) => pulled,
            };
            match pulled {
                Ok(Pulled::Deliveries(deliveries)) => {
                    wait = AGAIN_AFTER;
                    self.deliveries(deliveries).await;
                    // The first shard shares this task: it runs what was pulled while that is in the cache.
                    yield_once().await;
                }
                Ok(Pulled::Change(change)) => self.change(change),
                Err(error) if error.is_transient() => {
                    tracing::warn!(subscription = %sub.settings.name, %error, again_in = ?wait, "pulling failed");
                    self.rest(wait).await;
                    wait = (wait * 2).min(AGAIN_MAX);
                }
                Err(error) => return sub.stop(error),
            }
        }
    }

    /// Waits before pulling again; what others say is heard meanwhile.
    async fn rest(&mut self, wait: Duration) {
        let sub = self.sub.clone();
        let until = sub.env.now() + wait;
        loop {
            tokio::select! { biased;
                () = self.draining.cancelled() => return,
                () = sub.stopped.cancelled() => return,
                () = sub.control.wait() => self.read_controls().await,
                () = sub.env.sleep_until(until) => return,
            }
        }
    }

    async fn deliveries(&mut self, deliveries: Vec<Delivery>) {
        self.sub.chain.trace.pulled(deliveries.len());
        let items = match &self.sub.leases {
            Some(leases) => intake::take_in_leased(&self.sub, leases, deliveries),
            None => intake::take_in(&self.sub, deliveries),
        };
        admit::admit(&self.sub, &*self.store, items).await;
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Assigned(partitions) => {
                for partition in partitions {
                    self.claim(partition);
                }
            }
            Change::Revoking { partitions, handback } => {
                let tenures = partitions.iter().filter_map(|partition| self.forget(*partition)).collect();
                partitions::give_up(&self.partitions, tenures, Some(handback));
            }
            Change::Lost(partitions) => {
                for partition in partitions {
                    if let Some(tenure) = self.forget(partition) {
                        tenure.lose();
                        partitions::give_up(&self.partitions, vec![tenure], None);
                    }
                }
            }
            // What is here of the old connection is handled all the same, under its lease; it comes again, to
            // us or to others, and is known then.
            Change::Void { epoch } => {
                tracing::info!(subscription = %self.sub.settings.name, epoch, "connected anew");
            }
            Change::Broken { partition, epoch, error } => self.broken(partition, epoch, &error),
        }
    }

    /// Nothing more of the partition can be read, until an operator says where to go on (rule L2). What came
    /// before is handled, and the claim is kept: by it the session hears of the operator's word.
    fn broken(&self, partition: Partition, epoch: u64, error: &Error) {
        // Under the lock: who begins with the partition anew takes the halt back afterwards.
        let tenures = self.sub.tenures();
        if tenures.get(&partition).is_some_and(|tenure| tenure.claimed().claim.epoch == epoch) {
            let error = Error::new(error.kind(), format!("{error}; {}", partitions::REMEDY));
            self.sub.halt(partition, &error);
        }
    }

    /// Begins to claim a partition.
    fn claim(&mut self, partition: Partition) {
        let token = self.token(partition);
        partitions::claim(&self.partitions, partition, token);
    }

    /// The partition is not ours any more: ends its claiming, and hands out its tenure.
    fn forget(&mut self, partition: Partition) -> Option<Arc<super::tenure::Tenure>> {
        if let Some(token) = self.assigned.remove(&partition) {
            token.cancel();
        }
        let tenure = self.sub.tenures().remove(&partition);
        // Last: who claims halts a partition only while its token is not cancelled.
        self.sub.unhalt(partition);
        tenure
    }

    async fn read_controls(&mut self) {
        let (mut waited, mut again) = (Vec::new(), Vec::new());
        for control in self.sub.control.take(usize::MAX) {
            // What waited for twins is admitted together: a broker that hands everything out again makes many.
            if !matches!(control, Control::Again(_)) || again.len() >= ADMIT_MAX {
                admit::admit(&self.sub, &*self.store, std::mem::take(&mut again)).await;
            }
            // So is what waited for keys: a commit frees many of them, and a question each
            // would cost more than the events.
            let control = match self.unless_waited(control, &mut waited) {
                Some(control) => control,
                None if waited.len() < ADMIT_MAX => continue,
                None => {
                    self.rejoin(&mut waited).await;
                    continue;
                }
            };
            self.rejoin(&mut waited).await;
            match control {
                Control::NewSession => {
                    self.claim_all_again();
                    if let Some(leases) = &self.sub.leases {
                        let asked = leases.asks_anew(&self.sub.budget);
                        admit::leased::pass_over(&self.sub, &*self.store, leases, asked.unwanted).await;
                        admit::admit(&self.sub, &*self.store, asked.items).await;
                    }
                }
                Control::Wanted(claim) => self.wanted(&claim),
                Control::Gone(claim) => self.gone(&claim),
                Control::Repositioned(claim) => self.repositioned(&claim),
                Control::Room => {
                    let items = intake::take_in_stalled(&self.sub);
                    admit::admit(&self.sub, &*self.store, items).await;
                }
                Control::Released(parked) => self.released(parked).await,
                Control::Again(items) if mutant!("a2-woken-unasked") && self.sub.leases.is_none() => {
                    self.sub.enter_lanes(items);
                }
                Control::Again(items) => again.extend(items),
                control => self.read_of_keys(control).await,
            }
        }
        admit::admit(&self.sub, &*self.store, again).await;
        self.rejoin(&mut waited).await;
    }

    /// Takes what waited for a key that came to its end, or was kept; another control is given back.
    fn unless_waited(&self, control: Control, waited: &mut Vec<Item>) -> Option<Control> {
        let sub = &self.sub;
        let Some(leases) = &sub.leases else { return Some(control) };
        match control {
            Control::KeyOver(tenure) => waited.extend(leases.over(&sub.budget, &tenure)),
            Control::KeyKept(tenure) => waited.extend(leases.kept(&sub.budget, &tenure)),
            Control::Rejoin(items) => waited.extend(items),
            other => return Some(other),
        }
        None
    }

    /// Admits anew what waited (rule A2).
    async fn rejoin(&self, waited: &mut Vec<Item>) {
        if let Some(leases) = &self.sub.leases
            && !waited.is_empty()
        {
            admit::leased::rejoin(&self.sub, &*self.store, leases, std::mem::take(waited)).await;
        }
    }

    async fn released(&self, parked: Vec<Parked>) {
        match &self.sub.leases {
            Some(leases) => {
                let items = intake::take_in_released_leased(&self.sub, leases, parked);
                admit::admit(&self.sub, &*self.store, items).await;
            }
            None => self.sub.enter_lanes(intake::take_in_released(&self.sub, parked)),
        }
    }

    /// What concerns keys: their leases are taken and given up by this task alone.
    async fn read_of_keys(&self, control: Control) {
        let (sub, store) = (&self.sub, &*self.store);
        let Some(leases) = &sub.leases else { return };
        match control {
            Control::Freed(keys) => {
                let freed = leases.freed(&sub.budget, &keys);
                admit::leased::pass_over(sub, store, leases, freed.unwanted).await;
                admit::leased::rejoin(sub, store, leases, freed.items).await;
            }
            Control::Held(held) => {
                for stray in leases.unknown(&held) {
                    sub.committer.give_back(&stray);
                }
            }
            _ => {}
        }
    }

    /// Ends what concerns keys: from now on nobody tells this task anything of them.
    fn leave_keys(&self) {
        let Some(leases) = &self.sub.leases else { return };
        self.sub.send_back(leases.close(&self.sub.budget));
        for control in self.sub.control.take(usize::MAX) {
            match control {
                Control::KeyOver(tenure) => self.sub.send_back(leases.over(&self.sub.budget, &tenure)),
                Control::KeyKept(tenure) => self.sub.send_back(leases.kept(&self.sub.budget, &tenure)),
                Control::Again(items) | Control::Rejoin(items) => self.sub.send_back(items),
                _ => {}
            }
        }
        self.sub.stir_shards();
    }

    /// The session was lost: nothing of its tenures may be committed; what the broker still assigns to
    /// us is claimed under the new one.
    fn claim_all_again(&mut self) {
        let tenures: Vec<_> = std::mem::take(&mut *self.sub.tenures()).into_values().collect();
        for tenure in &tenures {
            tenure.lose();
        }
        self.sub.stir_shards();
        // Read on only when claimed anew: what comes before would be dropped.
        let paused: Vec<_> = self.assigned.keys().copied().collect();
        self.sub.consumer.pause(Some(&paused));
        for partition in self.assigned.keys().copied().collect::<Vec<_>>() {
            self.claim(partition);
        }
    }

    /// Rule S5: another worker wants this claim. It is given up in order; we ask for it again only after
    /// the handover limit, in case the broker keeps on assigning it to us. One that nothing here knows of was
    /// granted to a question that was given up meanwhile.
    fn wanted(&mut self, claim: &ClaimRef) {
        if mutant!("s5-wanted-ignored") {
            return;
        }
        let Some(tenure) = self.sub.forget_tenure(claim) else {
            if !self.sub.is_busy(claim.partition) && !self.sub.tenures().contains_key(&claim.partition) {
                partitions::give_back(&self.partitions, claim.clone());
            }
            return;
        };
        tracing::info!(subscription = %self.sub.settings.name, partition = claim.partition, "another worker wants the claim");
        self.sub.consumer.pause(Some(&[claim.partition]));
        partitions::give_up(&self.partitions, vec![tenure], None);
        self.claim_later(claim.partition);
    }

    /// A commit found the claim gone (rule C1).
    fn gone(&mut self, claim: &ClaimRef) {
        let Some(tenure) = self.sub.forget_tenure(claim) else { return };
        tenure.lose();
        self.sub.stir_shards();
        self.sub.consumer.pause(Some(&[claim.partition]));
        self.claim_later(claim.partition);
    }

    /// Rule L2: an operator said where to read on. Nothing of the tenure will commit; it is claimed anew as
    /// soon as nothing of it runs. One that the broker does not assign to us is being released already.
    fn repositioned(&mut self, claim: &ClaimRef) {
        let partition = claim.partition;
        let tenure = {
            let mut tenures = self.sub.tenures();
            let known =
                tenures.get(&partition).is_some_and(|tenure| tenure.claimed().claim.epoch >= claim.epoch);
            if known || !self.assigned.contains_key(&partition) {
                return;
            }
            tenures.remove(&partition)
        };
        tracing::info!(subscription = %self.sub.settings.name, partition, "an operator repositioned the partition");
        self.sub.consumer.pause(Some(&[partition]));
        if let Some(tenure) = &tenure {
            tenure.lose();
            self.sub.stir_shards();
        }
        let token = self.token(partition);
        partitions::claim_after(&self.partitions, partition, tenure, token);
    }

    fn claim_later(&mut self, partition: Partition) {
        let token = self.token(partition);
        partitions::claim_later(&self.partitions, partition, token);
    }

    /// The token of a new claiming, in the place of any earlier try.
    fn token(&mut self, partition: Partition) -> CancellationToken {
        let token = CancellationToken::new();
        if let Some(earlier) = self.assigned.insert(partition, token.clone()) {
            earlier.cancel();
        }
        token
    }
}
