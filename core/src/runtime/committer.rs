//! Group commit: one transaction for all that queued up while the previous one ran. No timer.
//!
//! One task per worker and store, so that a key has one commit in flight (rule C5) and each snapshot of
//! a watermark is the newest when it is written.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

use super::mailbox::Mailbox;
use super::shard::ToShard;
use super::subscription::{Control, Subscription};
use super::tenure::Tenure;
use crate::env::{Env, Set};
use crate::error::{Error, ErrorKind};
use crate::store::{ClaimRef, CommitGroup, Fate, HoldCommit, SessionId, Store, Unit, Verdict};

/// A run's part of the next group.
pub(crate) struct Pending {
    /// Who gets the fates.
    pub(crate) shard: usize,
    /// Under which number; `None`: nobody waits.
    pub(crate) run: Option<usize>,
    /// The tenure of each event.
    pub(crate) tenures: Vec<Arc<Tenure>>,
    pub(crate) unit: Unit,
}

pub(crate) struct Committer {
    env: Env,
    store: Arc<dyn Store>,
    session: Mutex<SessionId>,
    inbox: Mailbox<Letter>,
    /// Tenures with something finished that is not in the store's position yet, each at most once.
    dirty: Mailbox<Arc<Tenure>>,
    /// Whom the fates go to, by number. They own their part of the committer, not the other way round:
    /// a worker that is dropped leaves nothing behind.
    subscriptions: Mutex<Vec<Weak<Subscription>>>,
    lost: Mailbox<SessionId>,
}

enum Letter {
    Pending(Pending),
    /// Answered once everything sent before, and the tenure's position, is written.
    Flush(Arc<Tenure>, oneshot::Sender<()>),
}

/// A group has at most so many units; more would only make the others wait.
const UNITS_MAX: usize = 4096;

/// The least time between two groups that hold nothing but positions.
const POSITIONS_EVERY: Duration = Duration::from_millis(50);

/// How long to wait before a group is tried again that the store could not take.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
const AGAIN_MAX: Duration = Duration::from_secs(2);

impl Committer {
    pub(crate) fn new(env: Env, store: Arc<dyn Store>, session: SessionId) -> Self {
        Self {
            env,
            store,
            session: Mutex::new(session),
            inbox: Mailbox::new(),
            dirty: Mailbox::new(),
            subscriptions: Mutex::new(Vec::new()),
            lost: Mailbox::new(),
        }
    }

    pub(crate) fn serve(&self, subscription: &Arc<Subscription>) {
        lock(&self.subscriptions).push(Arc::downgrade(subscription));
    }

    pub(crate) fn session(&self) -> SessionId {
        *lock(&self.session)
    }

    pub(crate) fn new_session(&self, session: SessionId) {
        *lock(&self.session) = session;
    }

    pub(crate) fn commit(&self, pending: impl Iterator<Item = Pending>) {
        self.inbox.send_all(pending.map(Letter::Pending));
    }

    pub(crate) fn dirty(&self, tenure: &Arc<Tenure>) {
        self.dirty.send(tenure.clone());
    }

    /// Completes when everything sent before is committed, and the tenure's position with it; or when
    /// the tenure can't commit any more.
    pub(crate) async fn flush(&self, tenure: &Arc<Tenure>) {
        let (answer, answered) = oneshot::channel();
        self.inbox.send(Letter::Flush(tenure.clone(), answer));
        answered.await.ok();
    }

    /// The sessions that a commit found lost; read by the keeper.
    pub(crate) fn lost(&self) -> &Mailbox<SessionId> {
        &self.lost
    }

    /// Runs until its environment drops it.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            self.work().await;
            let mut round = Round::new(&self.env, self.session());
            for tenure in self.dirty.take(usize::MAX) {
                round.claim(&tenure);
            }
            for letter in self.inbox.take(UNITS_MAX) {
                if let Some(full) = round.add(letter) {
                    self.write(round).await;
                    round = Round::new(&self.env, self.session());
                    drop(round.add(full));
                }
            }
            self.write(round).await;
        }
    }

    /// Waits for something to write. A result is written at once; positions alone, for which nobody
    /// waits, only now and then: otherwise an idle store would be asked for one group after the other.
    async fn work(&self) {
        let positions = async {
            self.dirty.wait().await;
            self.env.sleep(POSITIONS_EVERY).await;
        };
        // Biased: a result takes the positions with it.
        tokio::select! { biased;
            () = self.inbox.wait() => {}
            () = positions => {}
        }
    }

    async fn write(&self, mut round: Round) {
        let group = round.group();
        if !(group.holds.is_empty() && group.units.is_empty()) {
            let known = self.until_known(&group, &round.tenures).await;
            self.tell(&group, &round, known);
        }
        for answer in round.flushed.drain(..) {
            answer.send(()).ok();
        }
    }

    /// Commits, and again, until each event's fate is known. An outage costs no attempt.
    async fn until_known(&self, group: &CommitGroup, tenures: &[Arc<Tenure>]) -> Option<Known> {
        let mut wait = AGAIN_AFTER;
        let mut unknown = false;
        loop {
            let answer = if unknown { self.read_truth(group).await } else { self.ask(group).await };
            let error = match answer {
                Ok(Some(known)) => return Some(known),
                // The truth is that nothing was written: commit again.
                Ok(None) => {
                    unknown = false;
                    continue;
                }
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::SessionLost => {
                    self.lost.send(group.session);
                    return None;
                }
                ErrorKind::Unknown => unknown = true,
                _ if !error.is_transient() => {
                    tracing::error!(error = %format!("{error:?}"), "the store refused a commit for good");
                    self.stop_all(tenures, &error);
                    return None;
                }
                _ => {}
            }
            tracing::warn!(%error, again_in = ?wait, "a commit did not get through");
            self.env.sleep(wait).await;
            wait = (wait * 2).min(AGAIN_MAX);
            if self.session() != group.session {
                return None;
            }
        }
    }

    async fn ask(&self, group: &CommitGroup) -> Result<Option<Known>, Error> {
        let committed = self.store.commit(group).await?;
        self.report_wanted(committed.wanted);
        Ok(Some(Known { fates: committed.fates, written: committed.written }))
    }

    /// Rule U1. A group is one transaction: if nothing of it is durable, it may be committed again
    /// (`None`); if something is, then what is not was turned away by it and has to run again.
    async fn read_truth(&self, group: &CommitGroup) -> Result<Option<Known>, Error> {
        let fates = self.store.resolve(group).await?;
        // Of a claim without a durable event nobody knows; its next position says so again.
        let durable = group.events().zip(&fates).filter(|(_, fate)| fate.is_committed());
        let written: Vec<usize> = durable.map(|(event, _)| event.hold).collect();
        Ok((!written.is_empty()).then_some(Known { fates, written }))
    }

    /// Passes the fates on. `None`: the session is gone, and with it everything of this group.
    fn tell(&self, group: &CommitGroup, round: &Round, known: Option<Known>) {
        let Known { fates, written } = known.unwrap_or_else(|| {
            for tenure in &round.tenures {
                tenure.lose();
            }
            Known { fates: group.events().map(|_| Fate::Excluded).collect(), written: Vec::new() }
        });
        self.mark_finished(group, round, &fates, &written);
        let mut fates = fates.into_iter();
        let mut answers: BTreeMap<(usize, usize), Vec<Answer>> = BTreeMap::new();
        for (unit, from) in group.units.iter().zip(&round.from) {
            let own: Vec<Fate> = fates.by_ref().take(unit.events.len()).collect();
            if let Some(run) = from.run {
                answers.entry((from.subscription, from.shard)).or_default().push((run, own));
            }
        }
        for ((subscription, shard), fates) in answers {
            if let Some(subscription) = self.subscription(subscription) {
                subscription.shards[shard].send(ToShard::Fates(fates));
            }
        }
    }

    fn mark_finished(&self, group: &CommitGroup, round: &Round, fates: &[Fate], written: &[usize]) {
        let held: Vec<bool> = (0..group.holds.len()).map(|hold| written.contains(&hold)).collect();
        let positions = group.positions(fates, |claim| held[claim]);
        let mut offsets: Vec<Vec<u64>> = group.holds.iter().map(|_| Vec::new()).collect();
        for (event, fate) in group.events().zip(fates) {
            if event.marks_position(fate) {
                offsets[event.hold].push(event.offset);
            }
        }
        for (claim, _, position) in positions {
            let tenure = &round.tenures[claim];
            tenure.committed(&position, &offsets[claim]);
            if let Some(subscription) = self.subscription(tenure.subscription) {
                subscription.moved.send(tenure.claim.partition);
            }
        }
    }

    fn report_wanted(&self, wanted: Vec<ClaimRef>) {
        for claim in wanted {
            self.tell_owner(claim, Control::Wanted);
        }
    }

    /// Tells the subscription of a claim what happened to it.
    pub(crate) fn tell_owner(&self, claim: ClaimRef, news: fn(ClaimRef) -> Control) {
        for subscription in self.subscriptions() {
            if subscription.settings.scope == claim.scope {
                subscription.control.send(news(claim.clone()));
            }
        }
    }

    /// The subscriptions of this committer.
    pub(crate) fn subscriptions(&self) -> Vec<Arc<Subscription>> {
        lock(&self.subscriptions).iter().filter_map(Weak::upgrade).collect()
    }

    fn subscription(&self, number: usize) -> Option<Arc<Subscription>> {
        lock(&self.subscriptions)[number].upgrade()
    }

    fn stop_all(&self, tenures: &[Arc<Tenure>], error: &Error) {
        for subscription in tenures.iter().filter_map(|tenure| self.subscription(tenure.subscription)) {
            subscription.stop(Error::new(error.kind(), format!("a commit failed for good: {error}")));
        }
    }
}

/// What became of a group.
struct Known {
    fates: Vec<Fate>,
    /// The claims whose positions were written for sure.
    written: Vec<usize>,
}

/// A run's number, and the fates of its events.
type Answer = (usize, Vec<Fate>);

/// A group in the making.
struct Round {
    session: SessionId,
    tenures: Vec<Arc<Tenure>>,
    units: Vec<Unit>,
    from: Vec<From>,
    /// Events of this group whose attempts or marks are written: their next verdict goes into the next
    /// group, so that no statement of a group touches a row twice.
    noted: Set<(usize, u64)>,
    flushed: Vec<oneshot::Sender<()>>,
}

struct From {
    subscription: usize,
    shard: usize,
    run: Option<usize>,
}

impl Round {
    fn new(env: &Env, session: SessionId) -> Self {
        Self {
            session,
            tenures: Vec::new(),
            units: Vec::new(),
            from: Vec::new(),
            noted: env.set(),
            flushed: Vec::new(),
        }
    }

    /// Adds a letter, or gives it back when it has to wait for the next group.
    fn add(&mut self, letter: Letter) -> Option<Letter> {
        match letter {
            Letter::Flush(tenure, answer) => {
                if !tenure.is_lost() {
                    self.claim(&tenure);
                }
                self.flushed.push(answer);
            }
            Letter::Pending(mut pending) => {
                let mut claims = Vec::with_capacity(pending.tenures.len());
                for tenure in &pending.tenures {
                    claims.push(self.claim(tenure));
                }
                let noted = &self.noted;
                let events = pending.unit.events.iter().zip(&claims);
                if !noted.is_empty()
                    && events.clone().any(|(event, claim)| noted.contains(&(*claim, event.offset)))
                {
                    return Some(Letter::Pending(pending));
                }
                for (event, claim) in pending.unit.events.iter_mut().zip(claims) {
                    event.hold = claim;
                    if matches!(event.verdict, Verdict::Tried(_) | Verdict::Started(_)) {
                        self.noted.insert((claim, event.offset));
                    }
                }
                let subscription = pending.tenures[0].subscription;
                self.from.push(From { subscription, shard: pending.shard, run: pending.run });
                self.units.push(pending.unit);
            }
        }
        None
    }

    fn claim(&mut self, tenure: &Arc<Tenure>) -> usize {
        self.tenures.iter().position(|known| Arc::ptr_eq(known, tenure)).unwrap_or_else(|| {
            self.tenures.push(tenure.clone());
            self.tenures.len() - 1
        })
    }

    /// The group, its claims sorted (rule C7); afterwards `tenures` stand in the same order.
    fn group(&mut self) -> CommitGroup {
        let mut order: Vec<usize> = (0..self.tenures.len()).collect();
        order.sort_by(|a, b| self.tenures[*a].claim.cmp(&self.tenures[*b].claim));
        let mut place = vec![0; order.len()];
        for (now, before) in order.iter().enumerate() {
            place[*before] = now;
        }
        self.tenures = order.iter().map(|at| self.tenures[*at].clone()).collect();
        let mut units = std::mem::take(&mut self.units);
        for event in units.iter_mut().flat_map(|unit| unit.events.iter_mut()) {
            event.hold = place[event.hold];
        }
        let holds =
            self.tenures.iter().map(|tenure| HoldCommit::Claim(Box::new(tenure.snapshot()))).collect();
        CommitGroup { session: self.session, holds, units }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
