//! Group commit: one transaction for all that queued up while the ones before ran. No timer.
//!
//! One task per worker and store. `queue` says what may be written now, beside what is being written (rule C5),
//! `round` puts a group together, `tell` says what became of it.

mod queue;
mod round;
mod tell;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;

use super::mailbox::Mailbox;
use super::subscription::Subscription;
use super::tenure::Tenure;
use crate::env::{Env, Instant};
use crate::error::{Error, ErrorKind};
use crate::handler::Begin;
use crate::store::{CommitGroup, Fate, SessionId, Store, Unit};

use queue::Queue;
use round::Round;
use tell::Known;

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
    /// Those that this process had last; the present one is the last of them.
    sessions: Mutex<Vec<SessionId>>,
    inbox: Mailbox<Letter>,
    /// Tenures with something finished that is not in the store's position yet, each at most once.
    dirty: Mailbox<Arc<Tenure>>,
    /// Whom the fates go to, by number. They own their part of the committer, not the other way round:
    /// a worker that is dropped leaves nothing behind.
    subscriptions: Mutex<Vec<Weak<Subscription>>>,
    lost: Mailbox<SessionId>,
    /// How many groups have not got through so far, though they were tried.
    held_up: AtomicUsize,
    /// Held by the one of those that is being tried again.
    again: tokio::sync::Mutex<()>,
}

enum Letter {
    Pending(Pending),
    /// Its position goes with a group; or its lease, if nothing joined it meanwhile (rule S7).
    Hold(Arc<Tenure>),
    /// The same; answered once it is written with all that was sent of it before.
    Written(Arc<Tenure>, oneshot::Sender<()>),
    /// Answered once everything sent before is written.
    Flush(oneshot::Sender<()>),
}

/// The least time between two groups that hold nothing but positions.
const POSITIONS_EVERY: Duration = Duration::from_millis(50);

/// So many sessions of its own a worker remembers.
const SESSIONS_MAX: usize = 64;

/// How long to wait before a group is tried again that the store could not take.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
const AGAIN_MAX: Duration = Duration::from_secs(2);

impl Committer {
    pub(crate) fn new(env: Env, store: Arc<dyn Store>, session: SessionId) -> Self {
        Self {
            env,
            store,
            sessions: Mutex::new(vec![session]),
            inbox: Mailbox::new(),
            dirty: Mailbox::new(),
            subscriptions: Mutex::new(Vec::new()),
            lost: Mailbox::new(),
            held_up: AtomicUsize::new(0),
            again: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) fn serve(&self, subscription: &Arc<Subscription>) {
        lock(&self.subscriptions).push(Arc::downgrade(subscription));
    }

    pub(crate) fn session(&self) -> SessionId {
        *lock(&self.sessions).last().expect("it began with one")
    }

    /// A session of this very process, be it lost: it lives, and so nothing died with that session.
    pub(crate) fn had(&self, session: SessionId) -> bool {
        lock(&self.sessions).contains(&session)
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
        let mut sessions = lock(&self.sessions);
        if sessions.len() == SESSIONS_MAX {
            sessions.remove(0);
        }
        sessions.push(session);
    }

    pub(crate) fn commit(&self, pending: impl Iterator<Item = Pending>) {
        self.inbox.send_all(pending.map(Letter::Pending));
    }

    pub(crate) fn dirty(&self, tenure: &Arc<Tenure>) {
        self.dirty.send(tenure.clone());
    }

    /// Nothing of the key is open: its lease goes back with the next group.
    pub(crate) fn give_back(&self, tenure: &Arc<Tenure>) {
        self.inbox.send(Letter::Hold(tenure.clone()));
    }

    /// Completes when everything that was sent of the tenure is committed, and its position with it; or when it can't
    /// be any more.
    pub(crate) async fn flush(&self, tenure: &Arc<Tenure>) {
        self.answered(|answer| Letter::Written(tenure.clone(), answer)).await;
    }

    /// Completes when everything sent before is committed, or can't be.
    pub(crate) async fn flush_all(&self) {
        self.answered(Letter::Flush).await;
    }

    async fn answered(&self, letter: impl FnOnce(oneshot::Sender<()>) -> Letter) {
        let (answer, answered) = oneshot::channel();
        self.inbox.send(letter(answer));
        answered.await.ok();
    }

    /// The sessions that a commit found lost; read by the keeper.
    pub(crate) fn lost(&self) -> &Mailbox<SessionId> {
        &self.lost
    }

    /// Runs until its environment drops it.
    pub(crate) async fn run(self: Arc<Self>) {
        let most = self.store.commits_at_once().max(1);
        let mut queue = Queue::new(&self.env);
        let mut writing = FuturesUnordered::new();
        let mut due = None;
        loop {
            // While one does not get through, no other begins: the store is away, or a lost answer is waited out
            // (rule U1), for which commits that follow each other without a gap would leave no moment.
            while writing.len() < most && self.held_up.load(Ordering::Relaxed) == 0 {
                self.collect(&mut queue, &mut due, writing.is_empty());
                let Some(round) = queue.next_round(&self.env, self.session(), most - writing.len()) else {
                    break;
                };
                writing.push(self.write(round));
            }
            queue.answer();
            let room = writing.len() < most && self.held_up.load(Ordering::Relaxed) == 0;
            // Biased: what is answered makes room for more.
            tokio::select! { biased;
                Some(round) = writing.next(), if !writing.is_empty() => queue.written(&round),
                () = self.work(&mut due), if room => {}
            }
        }
    }

    /// Takes what was sent. A result is written at once; positions alone, for which nobody waits, only now and then:
    /// otherwise an idle store would be asked for one group after the other. Where nothing is under way they go with
    /// a result.
    fn collect(&self, queue: &mut Queue, due: &mut Option<Instant>, idle: bool) {
        let letters = self.inbox.take(usize::MAX);
        let flush = letters.iter().any(|letter| matches!(letter, Letter::Flush(_)));
        if !self.dirty.is_empty() {
            // Here as well: while all places are taken, nobody waits for their time.
            due.get_or_insert_with(|| self.env.now() + POSITIONS_EVERY);
        }
        if due.is_some_and(|due| self.env.now() >= due) || (idle && !letters.is_empty()) || flush {
            *due = None;
            self.dirty.take(usize::MAX).into_iter().for_each(|tenure| queue.push(Letter::Hold(tenure)));
        }
        letters.into_iter().for_each(|letter| queue.push(letter));
    }

    /// Waits for something to write.
    async fn work(&self, due: &mut Option<Instant>) {
        let positions = async {
            self.dirty.wait().await;
            let due = due.get_or_insert_with(|| self.env.now() + POSITIONS_EVERY);
            self.env.sleep_until(*due).await;
        };
        // Biased: a result takes the positions with it.
        tokio::select! { biased;
            () = self.inbox.wait() => {}
            () = positions => {}
        }
    }

    async fn write(&self, mut round: Round) -> Round {
        let group = round.group();
        if !(group.holds.is_empty() && group.units.is_empty()) {
            let known = self.until_known(&group, &round.tenures).await;
            self.tell(&group, &round, known);
        }
        for answer in round.flushed.drain(..) {
            answer.send(()).ok();
        }
        round
    }

    /// Commits, and again, until each event's fate is known. An outage costs no attempt. What is tried again is alone
    /// with that: two in each other's way would be so for ever.
    async fn until_known(&self, group: &CommitGroup, tenures: &[Arc<Tenure>]) -> Option<Known> {
        let mut wait = AGAIN_AFTER;
        let mut unknown = false;
        let mut held_up = None;
        loop {
            let alone = if held_up.is_some() { Some(self.again.lock().await) } else { None };
            if held_up.is_some() && self.session() != group.session {
                return None;
            }
            let answer = if unknown { self.read_truth(group).await } else { self.ask(group).await };
            drop(alone);
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
            held_up.get_or_insert_with(|| HeldUp::one_more(&self.held_up));
            if mutant!("spin-in-commit") {
                continue;
            }
            self.env.sleep(wait).await;
            wait = (wait * 2).min(AGAIN_MAX);
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

/// One group that does not get through, until it does.
struct HeldUp<'a>(&'a AtomicUsize);

impl<'a> HeldUp<'a> {
    fn one_more(of: &'a AtomicUsize) -> Self {
        of.fetch_add(1, Ordering::Relaxed);
        Self(of)
    }
}

impl Drop for HeldUp<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
