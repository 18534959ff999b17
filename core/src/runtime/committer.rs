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
use crate::env::{Env, Map, Set};
use crate::error::{Error, ErrorKind};
use crate::handler::Begin;
use crate::store::{
    ClaimRef, CommitGroup, Effect, Fate, Hold, HoldCommit, LeaseCommit, LeaseRef, SessionId, Store, Unit,
    Verdict,
};

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
    /// Its lease goes back, if nothing joined it meanwhile (rule S7).
    GiveBack(Arc<Tenure>),
    /// Answered once everything sent before, and the tenure's position, is written.
    Flush(Option<Arc<Tenure>>, oneshot::Sender<()>),
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

    /// Opens transactions for handlers, under the session of that moment.
    pub(crate) fn begin(self: &Arc<Self>) -> Begin {
        let own = self.clone();
        Begin::by(move || {
            let own = own.clone();
            Box::pin(async move { own.store.begin(own.session()).await })
        })
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

    /// Nothing of the key is open: its lease goes back with the next group.
    pub(crate) fn give_back(&self, tenure: &Arc<Tenure>) {
        self.inbox.send(Letter::GiveBack(tenure.clone()));
    }

    /// Completes when everything sent before is committed, and the tenure's position with it; or when
    /// the tenure can't commit any more.
    pub(crate) async fn flush(&self, tenure: &Arc<Tenure>) {
        self.flush_with(Some(tenure.clone())).await;
    }

    /// Completes when everything sent before is committed, or can't be.
    pub(crate) async fn flush_all(&self) {
        self.flush_with(None).await;
    }

    async fn flush_with(&self, tenure: Option<Arc<Tenure>>) {
        let (answer, answered) = oneshot::channel();
        self.inbox.send(Letter::Flush(tenure, answer));
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
                round.hold(&tenure);
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
                ErrorKind::Unknown if mutant!("u1-lost-answer-is-success") => {
                    let fates = group.events().map(|_| Fate::Committed).collect();
                    return Some(Known { certain: true, fates, written: (0..group.holds.len()).collect() });
                }
                ErrorKind::Unknown => unknown = !mutant!("u1-lost-answer-is-failure"),
                _ if !error.is_transient() => {
                    tracing::error!(error = %format!("{error:?}"), "the store refused a commit for good");
                    self.stop_all(tenures, &error);
                    return None;
                }
                _ => {}
            }
            tracing::warn!(%error, again_in = ?wait, "a commit did not get through");
            if mutant!("spin-in-commit") {
                continue;
            }
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
        self.report_contended(&committed.contended);
        Ok(Some(Known { certain: true, fates: committed.fates, written: committed.written }))
    }

    /// Rule U1. A group is one transaction: if nothing of it is durable, it may be committed again
    /// (`None`); if something is, then what is not was turned away by it and has to run again.
    async fn read_truth(&self, group: &CommitGroup) -> Result<Option<Known>, Error> {
        let fates = self.store.resolve(group).await?;
        // Of a claim without a durable event nobody knows; its next position says so again.
        let durable = group.events().zip(&fates).filter(|(_, fate)| fate.is_committed());
        let written: Vec<usize> = durable.map(|(event, _)| event.hold).collect();
        Ok((!written.is_empty()).then_some(Known { certain: false, fates, written }))
    }

    /// Passes the fates on. `None`: the session is gone, and with it everything of this group.
    fn tell(&self, group: &CommitGroup, round: &Round, known: Option<Known>) {
        let Known { certain, fates, written } = known.unwrap_or_else(|| {
            for tenure in &round.tenures {
                tenure.lose();
            }
            let fates = group.events().map(|_| Fate::Excluded).collect();
            Known { certain: true, fates, written: Vec::new() }
        });
        self.end_leases(group, round, &fates, |at| certain && written.contains(&at), certain);
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
            let of = tenure.claimed();
            of.committed(&position, &offsets[claim]);
            if let Some(subscription) = self.subscription(tenure.subscription) {
                subscription.moved.send(of.claim.partition);
            }
        }
    }

    /// What became of the keys whose leases were to go back; before their events' fates are told.
    fn end_leases(
        &self,
        group: &CommitGroup,
        round: &Round,
        fates: &[Fate],
        given_back: impl Fn(usize) -> bool,
        certain: bool,
    ) {
        let mut open = vec![false; round.tenures.len()];
        for (event, fate) in group.events().zip(fates) {
            open[event.hold] |= !event.is_over(fate) && *fate != Fate::Excluded;
        }
        for (at, tenure) in round.tenures.iter().enumerate() {
            if given_back(at) {
                self.key_over(tenure);
            } else if round.sealed[at] {
                let kept = (certain && open[at]) || (!certain && mutant!("s6-unknown-means-kept"));
                if kept && !tenure.is_lost() {
                    tenure.unseal();
                    if let Some(subscription) = self.subscription(tenure.subscription) {
                        subscription.key_kept(tenure);
                    }
                    continue;
                }
                // Gone, or nobody knows (rule S6): whatever is left of it is admitted anew.
                tenure.lose();
            }
            if tenure.is_lost() && tenure.is_empty() {
                self.key_over(tenure);
            }
        }
    }

    /// Nothing of the key is left here, nor in the store for us.
    fn key_over(&self, tenure: &Arc<Tenure>) {
        let Some(of) = tenure.key().filter(|of| !of.is_kept() && !of.is_over()) else { return };
        of.end();
        if let Some(subscription) = self.subscription(tenure.subscription) {
            subscription.key_over(tenure);
        }
    }

    /// Leases of this worker that others wait for (rule S9).
    pub(crate) fn report_contended(&self, contended: &[LeaseRef]) {
        if contended.is_empty() {
            return;
        }
        for subscription in self.subscriptions() {
            if subscription.leases.as_ref().is_some_and(|leases| leases.contended(contended)) {
                subscription.stir_shards();
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

/// The tenure's part of a group; a partition's with all that is finished by now.
fn hold_of(tenure: &Tenure, give_back: bool) -> HoldCommit {
    match (tenure.partition(), tenure.hold()) {
        (Some(of), _) => HoldCommit::Claim(Box::new(of.snapshot())),
        (None, Hold::Lease(lease)) => HoldCommit::Lease(LeaseCommit { lease, give_back }),
        (None, Hold::Claim(_)) => unreachable!("only a partition has a claim"),
    }
}

/// What became of a group.
struct Known {
    /// The store said so itself; else it was read afterwards (rule U1).
    certain: bool,
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
    /// Where each stands, by its address.
    places: Map<usize, usize>,
    /// The keys whose leases go back with this group.
    sealed: Vec<bool>,
    units: Vec<Unit>,
    /// Its only unit is a handler's own transaction.
    own: bool,
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
            places: env.map(),
            sealed: Vec::new(),
            units: Vec::new(),
            own: false,
            from: Vec::new(),
            noted: env.set(),
            flushed: Vec::new(),
        }
    }

    /// Adds a letter, or gives it back when it has to wait for the next group.
    fn add(&mut self, letter: Letter) -> Option<Letter> {
        match letter {
            // Also of one that was lost meanwhile: it ends with the answer.
            Letter::GiveBack(tenure) => drop(self.hold(&tenure)),
            Letter::Flush(tenure, answer) => {
                if let Some(tenure) = tenure.filter(|tenure| !tenure.is_lost()) {
                    self.hold(&tenure);
                }
                self.flushed.push(answer);
            }
            Letter::Pending(mut pending) => {
                // A handler's own transaction is a group by itself.
                let own = pending.unit.effects.first().is_some_and(Effect::is_own);
                if self.own || (own && !self.units.is_empty()) {
                    return Some(Letter::Pending(pending));
                }
                self.own = own;
                let mut claims = Vec::with_capacity(pending.tenures.len());
                for tenure in &pending.tenures {
                    claims.push(self.hold(tenure));
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

    /// The tenure's place in the group.
    fn hold(&mut self, tenure: &Arc<Tenure>) -> usize {
        let next = self.tenures.len();
        let at = *self.places.entry(Arc::as_ptr(tenure).addr()).or_insert(next);
        if at == next {
            self.tenures.push(tenure.clone());
        }
        at
    }

    /// Rule S7: a key of which nothing is open but what this group ends gives its lease back with it. From
    /// then on until the answer nothing joins it (rule S6).
    fn seal(&self, units: &[Unit]) -> Vec<bool> {
        let mut ending = vec![0; self.tenures.len()];
        for event in units.iter().flat_map(|unit| &unit.events) {
            ending[event.hold] += usize::from(matches!(event.verdict, Verdict::Finish | Verdict::Park(_)));
        }
        let seal = |(tenure, ending): (&Arc<Tenure>, usize)| {
            tenure.key().is_some_and(|of| !of.is_kept() && !of.is_over())
                && !mutant!("s7-lease-is-not-given-back")
                && !tenure.is_lost()
                && tenure.seal(ending)
        };
        self.tenures.iter().zip(ending).map(seal).collect()
    }

    /// The group, its claims sorted (rule C7); afterwards `tenures` stand in the same order.
    fn group(&mut self) -> CommitGroup {
        let mut order: Vec<usize> = (0..self.tenures.len()).collect();
        order.sort_by_cached_key(|at| self.tenures[*at].hold());
        if mutant!("c7-holds-unsorted") {
            order.reverse();
        }
        let mut place = vec![0; order.len()];
        for (now, before) in order.iter().enumerate() {
            place[*before] = now;
        }
        self.tenures = order.iter().map(|at| self.tenures[*at].clone()).collect();
        let mut units = std::mem::take(&mut self.units);
        for event in units.iter_mut().flat_map(|unit| unit.events.iter_mut()) {
            event.hold = place[event.hold];
        }
        self.sealed = self.seal(&units);
        let holds = self.tenures.iter().zip(&self.sealed).map(|(tenure, sealed)| hold_of(tenure, *sealed));
        CommitGroup { session: self.session, holds: holds.collect(), units }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
