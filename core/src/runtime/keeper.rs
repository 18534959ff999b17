//! The keeper of the worker's session: renews it from a thread of its own, so that busy handlers can't
//! starve it, ends the promise when it has run out, and begins a new session when the old one is lost.

use std::sync::Arc;
use std::time::Duration;

use super::committer::Committer;
use super::promise::{Promise, Sent};
use super::settings::WorkerSettings;
use super::subscription::Control;
use crate::env::Env;
use crate::error::{Error, ErrorKind};
use crate::store::{NewSession, Renewed, Scope, SessionId, Store};

pub(crate) struct Keeper {
    pub(crate) env: Env,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) promise: Arc<Promise>,
    pub(crate) committer: Arc<Committer>,
    pub(crate) worker: Arc<WorkerSettings>,
}

/// So often in a session's lifetime it is looked whether the promise still holds.
const WATCHES: u32 = 50;

/// How long to wait after a renewal that did not get through.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// How often the log says that there is no new session yet.
const TELL_EVERY: Duration = Duration::from_secs(5);

impl Keeper {
    /// Registers a session under a new identity. Its promise begins when nothing stands under an older one any more.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn register(
        env: &Env,
        store: &dyn Store,
        worker: &WorkerSettings,
    ) -> Result<(SessionId, Sent), Error> {
        let id = SessionId(env.uuid());
        let sent = Sent::now(env);
        store.register(NewSession { id, worker: worker.name.to_string(), lifetime: worker.session }).await?;
        Ok((id, sent))
    }

    /// Runs until its environment drops it.
    pub(crate) async fn run(self) {
        futures_util::future::join(self.watch(), self.keep()).await;
    }

    /// Ends the promise when its time has passed, whatever a renewal is waiting for (rule S4).
    async fn watch(&self) {
        loop {
            self.env.sleep(self.worker.session / WATCHES).await;
            self.promise.enforce();
        }
    }

    async fn keep(&self) {
        let mut renewed = None;
        loop {
            let pause = self.worker.session / 3;
            // Beside the pause: the next renewal must not be late because the list is.
            let meanwhile =
                futures_util::future::join(self.env.sleep(pause), self.compare(renewed.take(), pause));
            tokio::select! { biased;
                () = self.committer.lost().wait() => {
                    let lost = self.committer.lost().take(usize::MAX);
                    if lost.contains(&self.committer.session()) {
                        self.begin_anew().await;
                    }
                }
                _ = meanwhile => renewed = self.renew().await,
            }
        }
    }

    /// Renews until the store answers. The promise ends by the clocks, whatever the store does. Gives the session
    /// whose leases are to be compared.
    async fn renew(&self) -> Option<SessionId> {
        loop {
            let session = self.committer.session();
            let leased = self.leased();
            let sent = Sent::now(&self.env);
            let limit = self.worker.session / 3;
            let answer = self.env.timeout("a renewal", limit, self.store.renew(session, &leased)).await;
            match answer.and_then(std::convert::identity) {
                Ok(renewed) => {
                    let sent =
                        if mutant!("s4-promise-from-the-answer") { Sent::now(&self.env) } else { sent };
                    self.promise.renewed(sent);
                    self.pass_on(renewed);
                    return (!leased.is_empty()).then_some(session);
                }
                Err(error) if error.kind() == ErrorKind::SessionLost => {
                    self.begin_anew().await;
                    return None;
                }
                Err(error) => {
                    tracing::warn!(%error, "the session was not renewed, trying again");
                    self.promise.enforce();
                    self.env.sleep(AGAIN_AFTER).await;
                    self.promise.enforce();
                }
            }
        }
    }

    /// The session is gone: what ran under it may commit nothing. A new one begins with nothing.
    async fn begin_anew(&self) {
        self.promise.end();
        tracing::warn!(session = %self.committer.session(), "the session does not hold, beginning a new one");
        let subscriptions = self.committer.subscriptions();
        for subscription in &subscriptions {
            subscription.lose_all(self.committer.session());
        }
        let mut told = None;
        let (session, sent) = loop {
            match Self::register(&self.env, &*self.store, &self.worker).await {
                Ok(registered) => break registered,
                Err(error) => {
                    let now = self.env.now();
                    if told.is_none_or(|told| now.since(told) >= TELL_EVERY) {
                        tracing::warn!(%error, "no new session yet, trying again");
                        told = Some(now);
                    }
                    self.env.sleep(AGAIN_AFTER).await;
                }
            }
        };
        self.committer.new_session(session);
        for subscription in &subscriptions {
            // Once more: what the old one was granted meanwhile.
            subscription.lose_all(session);
        }
        self.promise.renewed(sent);
        for subscription in subscriptions {
            subscription.control.send(Control::NewSession);
        }
    }

    /// The subscriptions whose keys have leases.
    fn leased(&self) -> Vec<Scope> {
        let subscriptions = self.committer.subscriptions();
        let leased = subscriptions.iter().filter(|subscription| subscription.leases.is_some());
        leased.map(|subscription| subscription.settings.scope.clone()).collect()
    }

    /// Rule S7: what the store says that we hold is compared with what there is here.
    async fn compare(&self, session: Option<SessionId>, limit: Duration) {
        let Some(session) = session.filter(|_| !mutant!("s7-no-comparison")) else { return };
        let held = self.env.timeout("the list of leases", limit, self.store.leases(session)).await;
        match held.and_then(std::convert::identity) {
            Ok(held) => {
                for subscription in self.committer.subscriptions() {
                    if subscription.leases.is_some() {
                        subscription.control.send(Control::Held(held.clone()));
                    }
                }
            }
            // What nobody here knows of stays with us meanwhile (rule S7).
            Err(error) => tracing::warn!(%error, "the leases were not listed"),
        }
    }

    fn pass_on(&self, renewed: Renewed) {
        self.committer.report_contended(&renewed.contended);
        for claim in renewed.wanted {
            self.committer.tell_owner(claim, Control::Wanted);
        }
        for claim in renewed.repositioned {
            self.committer.tell_owner(claim, Control::Repositioned);
        }
        if renewed.released.is_empty() {
            return;
        }
        for subscription in self.committer.subscriptions() {
            let scope = &subscription.settings.scope;
            let own: Vec<_> =
                renewed.released.iter().filter(|parked| parked.scope == *scope).cloned().collect();
            if !own.is_empty() {
                subscription.control.send(Control::Released(own));
            }
        }
    }
}
