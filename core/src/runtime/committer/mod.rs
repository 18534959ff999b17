//! Group commit: one transaction for all that queued up while the previous one ran. No timer.
//!
//! One task per worker and store, so that a key has one commit in flight (rule C5) and each snapshot of
//! a watermark is the newest when it is written. `round` puts a group together, `tell` says what became of it.

mod round;
mod tell;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

use super::mailbox::Mailbox;
use super::subscription::Subscription;
use super::tenure::Tenure;
use crate::env::Env;
use crate::error::{Error, ErrorKind};
use crate::handler::Begin;
use crate::store::{CommitGroup, Fate, SessionId, Store, Unit};

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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
