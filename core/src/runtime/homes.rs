//! One worker for each home (rule S10): a home is one of the databases over which a store's keys are spread.
//!
//! Nearly always there is one, and it reads from the broker itself. Several share one consumer a subscription: see
//! `spread`. Session, promise, claims, leases and positions of each are its own; handler calls at a time, and what may
//! be in memory, are the subscription's.

use std::sync::Arc;
use std::time::Duration;

use super::settings::WorkerSettings;
use super::spread::{Room, Spread};
use super::subscription::Subscription;
use super::worker::{From, Planned, Worker};
use crate::broker::Broker;
use crate::env::Env;
use crate::error::Error;
use crate::event::Decoder;
use crate::store::Store;

pub(crate) struct Homes {
    workers: Vec<Worker>,
    spreads: Vec<Arc<Spread>>,
    brokers: Vec<Arc<dyn Broker>>,
}

/// So many deliveries wait for a home's worker at most.
const ROOM_MAX: usize = 512;

impl Homes {
    /// Starts a worker over each store.
    ///
    /// # Errors
    /// What stores and brokers say; then nothing goes on running.
    pub(crate) async fn start(
        env: Env,
        stores: Vec<Arc<dyn Store>>,
        settings: WorkerSettings,
        planned: Vec<Planned>,
    ) -> Result<Self, Error> {
        let mut homes = Self { workers: Vec::new(), spreads: Vec::new(), brokers: Vec::new() };
        if let [store] = &stores[..] {
            homes.workers.push(Worker::start(env, store.clone(), settings, planned, false).await?);
            return Ok(homes);
        }
        let (spreads, shared) = spread(&env, stores.len(), planned).await?;
        homes.brokers = shared.brokers;
        homes.spreads = spreads;
        for (at, (store, planned)) in stores.iter().zip(shared.planned).enumerate() {
            // One that is away stops nobody but its own keys, at the start as later.
            match Worker::start(env.clone(), store.clone(), settings.clone(), planned, true).await {
                Ok(worker) => homes.workers.push(worker),
                Err(error) => {
                    homes.drain().await;
                    // Of those that had begun.
                    env.abandon();
                    return Err(error.context(format!("database {} of {}", at + 1, stores.len())));
                }
            }
        }
        for spread in &homes.spreads {
            spread.begin();
        }
        Ok(homes)
    }

    /// The subscriptions of all homes, for whoever asks about health.
    pub(crate) fn subscriptions(&self) -> Vec<Arc<Subscription>> {
        self.workers.iter().flat_map(|worker| worker.subscriptions().to_vec()).collect()
    }

    /// Completes when a subscription can't go on.
    pub(crate) async fn stopped(&self) {
        futures_util::future::select_all(self.workers.iter().map(|worker| Box::pin(worker.stopped()))).await;
    }

    /// Drains all homes at the same time; none waits for another.
    pub(crate) async fn drain(&self) {
        for spread in &self.spreads {
            spread.stop().await;
        }
        futures_util::future::join_all(self.workers.iter().map(Worker::drain)).await;
        for spread in &self.spreads {
            spread.close(CLOSE_WITHIN).await;
        }
        for broker in &self.brokers {
            broker.close().await;
        }
    }

    /// The first error that stopped a subscription.
    pub(crate) fn take_error(&self) -> Option<Error> {
        self.workers.iter().find_map(Worker::take_error)
    }
}

/// How long leaving a broker's group may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// What is planned for each home, and what they share.
struct Shared {
    planned: Vec<Vec<Planned>>,
    brokers: Vec<Arc<dyn Broker>>,
}

/// One consumer for each subscription, and a share of it for each home.
async fn spread(env: &Env, homes: usize, planned: Vec<Planned>) -> Result<(Vec<Arc<Spread>>, Shared), Error> {
    let mut spreads: Vec<Arc<Spread>> = Vec::new();
    let mut shared = Shared { planned: (0..homes).map(|_| Vec::new()).collect(), brokers: Vec::new() };
    for Planned { settings, routes, from, permits } in planned {
        let From::Broker(broker) = from else { continue };
        let own = settings.budget.share(homes);
        let partitions = broker.capabilities(&settings.adapter)?.partitions;
        // Without partitions as much again may be held beside a line.
        let bytes = own.bytes / if partitions { 2 } else { 4 };
        let room = Room { messages: own.messages.min(ROOM_MAX), bytes, kept: own.waiting_messages };
        // What waits for a home, and what is kept until it goes back, is unsettled beside what the budgets hold.
        let beside = if partitions { 0 } else { homes * (room.messages + room.kept) };
        let real = match broker.consumer(settings.consumer_spec(beside)).await {
            Ok(real) => real,
            Err(error) => {
                for spread in &spreads {
                    spread.close(CLOSE_WITHIN).await;
                }
                return Err(error.context(format!("subscription {:?}", settings.name)));
            }
        };
        let decoder =
            Decoder::new(settings.rules.clone(), settings.name.clone(), settings.scope.source.clone());
        let spread = Spread::new(env.clone(), real, decoder, homes, room);
        for (home, share) in shared.planned.iter_mut().zip(spread.shares()) {
            let mut settings = settings.clone();
            settings.budget = own;
            let (routes, permits) = (routes.clone(), permits.clone());
            home.push(Planned { settings, routes, from: From::Share(share), permits });
        }
        spreads.push(spread);
        shared.brokers.push(broker);
    }
    Ok((spreads, shared))
}
