//! Claims and hand-over: how a partition comes to this worker and how it leaves it.
//!
//! An adapter only reports `Assigned`, `Revoking`, `Lost`, and waits, bounded. Everything else about
//! ownership is decided here, alike for every broker.

mod log;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::settings::WorkerSettings;
use super::subscription::{Control, Subscription};
use super::tenure::{OfPartition, Progress, Tenure, all_empty};
use crate::broker::{Base, Bounds, Handback, Partition, Start};
use crate::error::{Error, ErrorKind};
use crate::handler::Scene;
use crate::store::{Claim, ClaimAnswer, ClaimRef, ClaimRequest, Store};
use crate::text::Text;
use crate::watermark::{Watermark, Witnesses};

pub(crate) use log::REMEDY;
use log::{ordered, same_log};

/// What claiming needs.
#[derive(Clone)]
pub(crate) struct Partitions {
    pub(crate) sub: Arc<Subscription>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) worker: Arc<WorkerSettings>,
}

/// How often a claim that another has is asked for; each answer also marks it wanted (rule S5).
const ASK_EVERY: Duration = Duration::from_millis(100);
const ASK_EVERY_MAX: Duration = Duration::from_secs(1);

/// After the grace, how long dropped handlers have to be noticed as gone.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Claims a partition and starts reading it, unless `token` is cancelled first.
pub(crate) fn claim(partitions: &Partitions, partition: Partition, token: CancellationToken) {
    let own = partitions.clone();
    partitions.sub.env.spawn("claim", async move {
        own.claim_until(partition, token).await;
    });
}

/// The same, once another worker had its chance.
pub(crate) fn claim_later(partitions: &Partitions, partition: Partition, token: CancellationToken) {
    let own = partitions.clone();
    partitions.sub.env.spawn("claim", async move {
        tokio::select! { biased;
            () = token.cancelled() => {}
            () = own.sub.env.sleep(own.worker.handover) => own.claim_until(partition, token).await,
        }
    });
}

/// The same, once nothing of an earlier tenure runs any more.
pub(crate) fn claim_after(
    partitions: &Partitions,
    partition: Partition,
    tenure: Option<Arc<Tenure>>,
    token: CancellationToken,
) {
    let own = partitions.clone();
    partitions.sub.env.spawn("claim", async move {
        if let Some(tenure) = tenure {
            // Bounded, as every wait for a handler is.
            own.sub.env.timeout("a dropped handler", own.worker.grace, tenure.empty()).await.ok();
        }
        own.claim_until(partition, token).await;
    });
}

/// Ends tenures in order: starts nothing more, waits for what runs until the grace is over, drops the
/// rest, writes the positions, gives the claims back, and answers the broker.
pub(crate) fn give_up(partitions: &Partitions, tenures: Vec<Arc<Tenure>>, handback: Option<Handback>) {
    for tenure in &tenures {
        tenure.close();
    }
    partitions.sub.stir_shards();
    let own = partitions.clone();
    let leaving = partitions.sub.leaving.clone().try_acquire_owned();
    // From now on: its claim is on its way out until then.
    let busy: Vec<_> =
        tenures.iter().map(|tenure| partitions.sub.busy(tenure.claimed().claim.partition)).collect();
    partitions.sub.env.spawn("give-up", async move {
        let _leaving = (leaving, busy);
        let bases = own.hand_over(tenures, own.worker.grace).await;
        if let Some(handback) = handback {
            handback.done(bases);
        }
    });
}

/// Gives back a claim that the store says is ours and nothing here knows of: an answer to `claim` that nobody
/// waited for any more. What came of it before is for the next owner to be careful with (rule T1).
pub(crate) fn give_back(partitions: &Partitions, claim: ClaimRef) {
    let own = partitions.clone();
    let busy = partitions.sub.busy(claim.partition);
    partitions.sub.env.spawn("give-back", async move {
        let _busy = busy;
        own.release(&claim, false).await;
    });
}

impl Partitions {
    /// Ends tenures that are closed already; gives the bases that the broker may be told.
    pub(crate) async fn hand_over(&self, tenures: Vec<Arc<Tenure>>, grace: Duration) -> Vec<Base> {
        let ends = tenures.iter().map(|tenure| self.end(tenure, grace));
        futures_util::future::join_all(ends).await.into_iter().flatten().collect()
    }

    /// Ends one tenure; its base, if that is durable. Every step has a limit: a store that is away, or a
    /// handler that never awaits, holds up nobody else.
    async fn end(&self, tenure: &Arc<Tenure>, grace: Duration) -> Option<Base> {
        let (env, ending) = (&self.sub.env, self.sub.ending(tenure));
        if env.timeout("the grace", grace, all_empty(&ending)).await.is_err() {
            if !mutant!("s5-grace-without-end") {
                ending.iter().for_each(|tenure| tenure.abort());
            }
            self.sub.stir_shards();
        }
        let whole = env.timeout("a dropped handler", LAST_MOMENT, all_empty(&ending)).await.is_ok();
        let written =
            env.timeout("the last position", LAST_MOMENT, self.sub.committer.flush(tenure)).await.is_ok();
        let base = (written && !tenure.is_lost()).then(|| tenure.claimed().base());
        // What may still run, or was not written, is for the next owner to be careful with (rule T1).
        // So is what the owner before may have begun, while there is more of it to come than was marked.
        let clean = whole && base.is_some() && tenure.claimed().progress().marks_left == 0;
        env.timeout("a release", LAST_MOMENT, self.release(&tenure.claimed().claim, clean)).await.ok();
        base
    }

    /// A claim under which nothing began: what its owner before left unclean is so still.
    async fn release_unused(&self, claim: &Claim) {
        self.release(&claim.claim, !claim.unclean).await;
    }

    async fn release(&self, claim: &ClaimRef, clean: bool) {
        let session = self.sub.committer.session();
        if let Err(error) = self.store.release(session, std::slice::from_ref(claim), clean).await {
            // Not fatal: the claim is free when the session ends or the handover limit has passed.
            tracing::warn!(subscription = %self.sub.settings.name, partition = claim.partition, %error, "a claim was not released");
        }
    }

    async fn claim_until(&self, partition: Partition, token: CancellationToken) {
        let mut wait = ASK_EVERY;
        loop {
            let busy = self.sub.busy(partition);
            let granted = tokio::select! { biased;
                () = token.cancelled() => return,
                granted = self.try_claim(partition) => granted,
            };
            match granted {
                Ok(Some(claim)) => {
                    let Err(error) = self.begin(&claim, &token).await else { return };
                    if !self.not_begun(&claim, error, &token).await {
                        return;
                    }
                    wait = ASK_EVERY_MAX;
                }
                Ok(None) => {}
                Err(error) if error.is_transient() || error.kind() == ErrorKind::SessionLost => {
                    tracing::warn!(subscription = %self.sub.settings.name, partition, %error, "claiming failed, trying again");
                }
                Err(error) => return self.sub.stop(error),
            }
            drop(busy);
            tokio::select! { biased;
                () = token.cancelled() => return,
                () = self.sub.env.sleep(wait) => {}
            }
            wait = (wait * 2).min(ASK_EVERY_MAX);
        }
    }

    async fn try_claim(&self, partition: Partition) -> Result<Option<Claim>, Error> {
        let request = ClaimRequest {
            session: self.sub.committer.session(),
            scope: self.sub.settings.scope.clone(),
            partition,
            handover_limit: self.worker.handover,
        };
        match self.store.claim(request).await? {
            ClaimAnswer::Granted(claim) => Ok(Some(*claim)),
            ClaimAnswer::Wanted { owner } => {
                tracing::debug!(subscription = %self.sub.settings.name, partition, owner, "waiting for a claim");
                Ok(None)
            }
        }
    }

    /// From a granted claim to the first delivery: finds where to read, and holds the log against what
    /// was read before (rule L2).
    async fn begin(&self, claim: &Claim, token: &CancellationToken) -> Result<(), Error> {
        let sub = &self.sub;
        let partition = claim.claim.partition;
        let found = tokio::select! { biased;
            () = token.cancelled() => {
                self.release_unused(claim).await;
                return Ok(());
            }
            found = self.find(claim) => found,
        };
        let (bounds, base) = found?;
        let (tenure, from) = self.tenure(claim, &bounds, base)?;
        let tenure = Arc::new(tenure);
        // Under the lock, because who cancels the token looks for the tenure right afterwards.
        let given_up = {
            let mut tenures = sub.tenures();
            let given_up = token.is_cancelled();
            if !given_up {
                tenures.insert(partition, tenure.clone());
            }
            given_up
        };
        if given_up {
            self.release_unused(claim).await;
            return Ok(());
        }
        if claim.position.is_none() {
            // Where a new group begins is decided once: "latest" means another place after a crash.
            sub.committer.flush(&tenure).await;
        }
        if token.is_cancelled() {
            // Who gave the tenure up may have begun the next one already: reading must not start over under
            // the epoch of this one, of which nothing is taken any more.
            return Ok(());
        }
        sub.show_finished(&tenure);
        sub.consumer.start(vec![Start { partition, offset: from, epoch: claim.claim.epoch }]).await?;
        // Whatever an earlier tenure was held back for is over.
        sub.consumer.resume(Some(&[partition]));
        sub.unhalt(partition);
        // Who had it before may have died between the store's commit and the broker's.
        sub.moved.send(partition);
        if !claim.released.is_empty() {
            sub.control.send(Control::Released(claim.released.clone()));
        }
        Ok(())
    }

    /// What the log holds now, and where the claim's partition is read from. The broker may take its time.
    async fn find(&self, claim: &Claim) -> Result<(Bounds, u64), Error> {
        let consumer = &self.sub.consumer;
        let bounds = consumer.bounds(claim.claim.partition).await?;
        if let Some(position) = &claim.position {
            same_log(position, &bounds)?;
        }
        let base = match (&claim.position, claim.read_from) {
            (Some(position), _) => position.base,
            (None, Some(order)) => ordered(order, &bounds)?,
            (None, None) => consumer.origin(claim.claim.partition).await?,
        };
        Ok((bounds, base))
    }

    /// The tenure, and the first offset to read: the witness where there is one, the base else.
    fn tenure(&self, claim: &Claim, bounds: &Bounds, base: u64) -> Result<(Tenure, u64), Error> {
        let sub = &self.sub;
        let window = sub.settings.budget.window;
        let sparse = claim.position.as_ref().map_or(&[][..], |position| &position.sparse);
        let watermark = Watermark::restore(base, sparse, window).map_err(|error| {
            Error::new(
                ErrorKind::Corrupt,
                format!("the stored position of partition {} can't be read", claim.claim.partition),
            )
            .with_source(error)
        })?;
        let witness = claim.position.as_ref().and_then(|position| position.witness);
        let expected = witness.filter(|witness| witness.offset >= bounds.low);
        let progress = Progress {
            watermark,
            witnesses: Witnesses::new(witness),
            // By generation, so that the present one has the last word on an offset.
            tried: claim.attempts.iter().map(|row| (row.offset, row.clone())).collect::<BTreeMap<_, _>>(),
            // What the owner before may have begun: no more than it could have in memory (rule T1).
            marks_left: if claim.unclean {
                sub.settings.budget.messages + sub.settings.budget.waiting_messages
            } else {
                0
            },
            releasing: sub.env.set(),
            expected,
            stalled: VecDeque::new(),
        };
        let from = expected.map_or(base, |witness| witness.offset.min(base));
        Ok((self.tenure_with(claim, bounds.identity.clone(), bounds.partitions, progress), from))
    }

    fn tenure_with(
        &self,
        claim: &Claim,
        identity: Option<Text>,
        partitions: u32,
        progress: Progress,
    ) -> Tenure {
        let scene = Arc::new(Scene {
            env: self.sub.env.clone(),
            subscription: self.sub.settings.name.clone(),
            cancelled: CancellationToken::new(),
            begin: self.sub.begin.clone(),
        });
        let of = OfPartition::new(claim.claim.clone(), identity, partitions, progress);
        Tenure::of_partition(claim.generation, scene, self.sub.index, of)
    }

    /// What becomes of a claim that did not begin; true when it is worth claiming again.
    async fn not_begun(&self, claim: &Claim, error: Error, token: &CancellationToken) -> bool {
        let partition = claim.claim.partition;
        if matches!(error.kind(), ErrorKind::LogChanged | ErrorKind::Corrupt) {
            if !self.halt(claim, &error, token) {
                self.release_unused(claim).await;
            }
            return false;
        }
        // Only its own: the partition may have left and come back meanwhile, under another tenure.
        if let Some(begun) = self.sub.forget_tenure(&claim.claim) {
            begun.lose();
        }
        self.release_unused(claim).await;
        if token.is_cancelled() {
            return false;
        }
        if error.is_transient() {
            tracing::warn!(subscription = %self.sub.settings.name, partition, %error, "a partition did not start, trying again");
            return true;
        }
        self.sub.stop(error);
        false
    }

    /// Rule L2: the partition waits for an operator. Its claim is kept under a tenure of which nothing may
    /// start: the session hears by its renewals of what the operator decides, and a partition that goes
    /// elsewhere is released as any other. False when it is not ours any more.
    fn halt(&self, claim: &Claim, error: &Error, token: &CancellationToken) -> bool {
        let sub = &self.sub;
        let partition = claim.claim.partition;
        let tenure = Arc::new(self.tenure_with(claim, None, 0, Progress::nothing(&sub.env)));
        tenure.lose();
        // Under the lock, as in `begin`.
        let mut tenures = sub.tenures();
        if token.is_cancelled() {
            return false;
        }
        if let Some(begun) = tenures.insert(partition, tenure) {
            begun.lose();
        }
        sub.halt(partition, error);
        drop(tenures);
        sub.stir_shards();
        true
    }
}
