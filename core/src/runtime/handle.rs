//! A running runtime, for a service that does other things beside it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::admin::Admin;
use super::homes::Homes;
use super::subscription::Subscription;
use crate::broker::{Broker, Publisher};
use crate::env::Env;
use crate::error::{Error, ErrorKind};
use crate::store::Store;

/// A handle on a running runtime. Cheap to clone; dropping the last one ends the runtime as a crash would:
/// call [`shutdown`](Self::shutdown) and [`join`](Self::join) to end it in order.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    env: Env,
    stores: Vec<Arc<dyn Store>>,
    brokers: BTreeMap<String, Arc<dyn Broker>>,
    subscriptions: Vec<Arc<Subscription>>,
    ask_to_stop: CancellationToken,
    ended: CancellationToken,
    error: Arc<Mutex<Option<Error>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.env.abandon();
    }
}

/// A partition that waits for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halted {
    /// Of which subscription.
    pub subscription: String,
    /// Which partition.
    pub partition: u32,
    /// Why, and what to do.
    pub why: String,
}

impl Handle {
    pub(super) fn new(
        env: Env,
        homes: Homes,
        stores: Vec<Arc<dyn Store>>,
        brokers: BTreeMap<String, Arc<dyn Broker>>,
    ) -> Self {
        let ask_to_stop = CancellationToken::new();
        let ended = CancellationToken::new();
        let error = Arc::new(Mutex::new(None));
        let subscriptions = homes.subscriptions();
        let (asked, over, kept) = (ask_to_stop.clone(), ended.clone(), error.clone());
        let set = env.clone();
        env.spawn("drain", async move {
            tokio::select! { biased;
                () = asked.cancelled() => {}
                () = homes.stopped() => {}
            }
            homes.drain().await;
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = homes.take_error();
            over.cancel();
            // Nothing goes on after the end: no renewal, no claim, no sweep.
            set.abandon();
        });
        Self(Arc::new(Inner { env, stores, brokers, subscriptions, ask_to_stop, ended, error }))
    }

    /// True while every subscription can work: none has stopped, no partition waits for an operator, and
    /// the session with the store holds.
    #[must_use]
    pub fn ready(&self) -> bool {
        let fine = |sub: &Arc<Subscription>| {
            sub.promise.holds() && !sub.stopped.is_cancelled() && sub.halted().is_empty()
        };
        !self.0.ask_to_stop.is_cancelled() && self.0.subscriptions.iter().all(fine)
    }

    /// True until it has ended, or a subscription stopped.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let stopped = self.0.subscriptions.iter().any(|sub| sub.stopped.is_cancelled());
        !stopped && !self.0.ended.is_cancelled()
    }

    /// The partitions that wait for an operator, with the reason.
    #[must_use]
    pub fn halted(&self) -> Vec<Halted> {
        let of = |sub: &Arc<Subscription>| {
            let name = sub.settings.name.to_string();
            let halted = sub.halted().into_iter();
            let place = sub.share.as_ref().map(|share| share.place());
            halted.map(move |(partition, why)| {
                let why = place.as_ref().map_or(why.clone(), |place| format!("{place}: {why}"));
                Halted { subscription: name.clone(), partition, why }
            })
        };
        self.0.subscriptions.iter().flat_map(of).collect()
    }

    /// Asks it to drain: pull nothing more, finish what runs within `runtime.drain_max`, give the rest
    /// back. Returns at once; [`join`](Self::join) tells when it is over.
    pub fn shutdown(&self) {
        self.0.ask_to_stop.cancel();
    }

    /// Waits until it has ended; cancel-safe, and may be called more than once.
    ///
    /// # Errors
    /// What stopped a subscription; the first caller gets it.
    pub async fn join(&self) -> Result<(), Error> {
        self.0.ended.cancelled().await;
        match self.0.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Ends at once, as a crash would: what runs is dropped at its next await, nothing is given back.
    pub fn abandon(&self) {
        self.0.env.abandon();
    }

    /// What writes to the broker of this name.
    ///
    /// # Errors
    /// `Config` when the configuration has no such broker; else what the broker says.
    pub async fn publisher(&self, broker: &str) -> Result<Arc<dyn Publisher>, Error> {
        let Some(found) = self.0.brokers.get(broker) else {
            let known: Vec<_> = self.0.brokers.keys().map(String::as_str).collect();
            let what = format!("there is no [broker.{broker}]; the configuration has {}", known.join(", "));
            return Err(Error::new(ErrorKind::Config, what));
        };
        found.publisher().await
    }

    /// What an operator asks and does.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::over(self.0.stores.clone())
    }

    pub(super) fn env(&self) -> &Env {
        &self.0.env
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("ready", &self.ready()).finish_non_exhaustive()
    }
}
