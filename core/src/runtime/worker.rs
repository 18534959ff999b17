//! A worker: one session over one store, with its subscriptions.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::committer::Committer;
use super::keeper::Keeper;
use super::partitions::Partitions;
use super::promise::Promise;
use super::pull::Puller;
use super::settings::{Settings, WorkerSettings};
use super::shard::Shard;
use super::spread::Share;
use super::subscription::{LEAVING_MAX, Parts, Subscription};
use super::{admit, settle, sweep};
use crate::broker::{Broker, Consumer, Reset, Settles};
use crate::env::Env;
use crate::error::{Error, ErrorKind};
use crate::handler::RouteTable;
use crate::middleware::chain::Chain;
use crate::middleware::trace::Trace;
use crate::store::{SessionId, Store};

/// A subscription before it starts.
pub(crate) struct Planned {
    pub(crate) settings: Settings,
    pub(crate) routes: Arc<RouteTable>,
    pub(crate) from: From,
    /// One permit a handler call at a time.
    pub(crate) permits: Arc<Semaphore>,
}

/// What a subscription reads by.
pub(crate) enum From {
    /// A member of its own of the broker's group.
    Broker(Arc<dyn Broker>),
    /// Its home's share of one (rule S10).
    Share(Arc<Share>),
}

pub(crate) struct Worker {
    env: Env,
    store: Arc<dyn Store>,
    settings: Arc<WorkerSettings>,
    committer: Arc<Committer>,
    brokers: Vec<Arc<dyn Broker>>,
    subscriptions: Vec<Arc<Subscription>>,
    partitions: Vec<Partitions>,
    draining: CancellationToken,
}

impl Worker {
    /// Registers the session, connects the consumers and starts every task.
    ///
    /// # Errors
    /// What store and brokers say; then nothing goes on running.
    pub(crate) async fn start(
        env: Env,
        store: Arc<dyn Store>,
        settings: WorkerSettings,
        planned: Vec<Planned>,
        may_be_away: bool,
    ) -> Result<Self, Error> {
        #[cfg(feature = "mutants")]
        tracing::warn!("built with the feature \"mutants\", which is for the simulation alone");
        limit_fits(store.kind(), store.effect_limit(), settings.session)?;
        let settings = Arc::new(settings);
        let promise = Arc::new(Promise::new(env.clone(), settings.session));
        let registered = match Keeper::register(&env, &*store, &settings).await {
            Ok((session, sent)) => {
                promise.renewed(sent);
                Some(session)
            }
            Err(error) if may_be_away && error.is_transient() => {
                if let Some(why) = begins_at_the_end(&planned) {
                    return Err(error.context(why));
                }
                tracing::warn!(%error, "a database is away at the start; its keys wait until it is back");
                None
            }
            Err(error) => return Err(error),
        };
        let session = registered.unwrap_or_else(|| SessionId(env.uuid()));
        let committer = Arc::new(Committer::new(env.clone(), store.clone(), session));
        if registered.is_none() {
            // As with a session that was lost at once: the keeper begins one, and all is claimed under that.
            committer.lost().send(session);
        }
        let mut worker = Self {
            env: env.clone(),
            store: store.clone(),
            settings: settings.clone(),
            committer: committer.clone(),
            brokers: Vec::new(),
            subscriptions: Vec::new(),
            partitions: Vec::new(),
            draining: CancellationToken::new(),
        };
        for (index, plan) in planned.into_iter().enumerate() {
            if let Err(error) = worker.subscribe(index, plan, &promise).await {
                worker.leave(session).await;
                return Err(error);
            }
        }
        env.spawn("committer", committer.clone().run());
        let keeper =
            Keeper { env: env.clone(), store: store.clone(), promise, committer, worker: settings.clone() };
        env.spawn_dedicated("keeper", keeper.run());
        env.spawn("sweep", sweep::run(env.clone(), store, settings, worker.subscriptions.clone()));
        for at in 0..worker.subscriptions.len() {
            worker.begin(at);
        }
        Ok(worker)
    }

    async fn subscribe(&mut self, index: usize, plan: Planned, promise: &Arc<Promise>) -> Result<(), Error> {
        let place = format!("subscription {:?}", plan.settings.name);
        let (consumer, share) = match plan.from {
            From::Share(share) => (share.clone() as Arc<dyn Consumer>, Some(share)),
            From::Broker(broker) => {
                let spec = plan.settings.consumer_spec(0);
                let consumer = broker.consumer(spec).await.map_err(|error| error.context(place.clone()))?;
                self.brokers.push(broker);
                (consumer, None)
            }
        };
        let capabilities = consumer.capabilities();
        if capabilities.partitions != (capabilities.settles == Settles::Position) {
            let what = format!(
                "{} says that it has {} partitions and settles {:?}: neither claims nor leases fit that",
                capabilities.kind,
                if capabilities.partitions { "" } else { "no" },
                capabilities.settles
            );
            return Err(Error::new(ErrorKind::Unsupported, what).context(place));
        }
        if !capabilities.partitions && !plan.settings.local {
            let longest = plan.settings.rules.limits.key_bytes_max;
            keys_fit(self.store.kind(), self.store.lease_key_max(), longest)
                .map_err(|error| error.context(place))?;
        }
        let source = plan.settings.scope.source.clone();
        let chain = Chain {
            env: self.env.clone(),
            trace: Trace::new(&plan.settings.group, &source, capabilities.kind),
            promise: promise.clone(),
            retry: plan.settings.retry.clone(),
            routes: plan.routes,
            unknown: plan.settings.unknown,
            timeout: plan.settings.timeout,
        };
        let sub = Arc::new(Subscription::new(Parts {
            index,
            env: self.env.clone(),
            settings: plan.settings,
            worker: self.settings.name.clone(),
            chain,
            promise: promise.clone(),
            shards: self.settings.shards,
            committer: self.committer.clone(),
            consumer,
            share,
            permits: plan.permits,
            leased: !capabilities.partitions,
        }));
        self.committer.serve(&sub);
        self.partitions.push(Partitions {
            sub: sub.clone(),
            store: self.store.clone(),
            worker: self.settings.clone(),
        });
        self.subscriptions.push(sub);
        Ok(())
    }

    fn begin(&self, at: usize) {
        let sub = &self.subscriptions[at];
        for shard in 1..sub.shards.len() {
            self.env.spawn("shard", Shard::new(shard, sub.clone()).run());
        }
        self.env.spawn("settle", settle::run(sub.clone()));
        if sub.leases.is_some() {
            self.env.spawn("leases", admit::leased::listen(sub.clone(), self.store.clone()));
        }
        let puller =
            Puller::new(sub.clone(), self.store.clone(), self.partitions[at].clone(), self.draining.clone());
        // The first shard shares the puller's task: what one counts up, the other counts down on the same
        // core. With one shard, which serves most services, events never change cores in the core.
        let first = Shard::new(0, sub.clone()).run();
        self.env.spawn("pull", async move {
            futures_util::future::join(puller.run(), first).await;
        });
    }

    /// The subscriptions, for whoever asks about health.
    pub(crate) fn subscriptions(&self) -> &[Arc<Subscription>] {
        &self.subscriptions
    }

    /// Completes when a subscription can't go on.
    pub(crate) async fn stopped(&self) {
        if self.subscriptions.is_empty() {
            return std::future::pending().await;
        }
        let all = self.subscriptions.iter().map(|sub| Box::pin(sub.stopped.cancelled()));
        futures_util::future::select_all(all).await;
    }

    /// Drains: pulls nothing more, waits for what runs until the limit, drops the rest, gives everything
    /// back. What was not finished is handled by whoever comes next.
    pub(crate) async fn drain(&self) {
        self.draining.cancel();
        let mut leaving = Vec::new();
        let leased = self.partitions.iter().filter(|partitions| partitions.sub.leases.is_some());
        let leased =
            futures_util::future::join_all(leased.map(|partitions| self.drain_keys(&partitions.sub)));
        for partitions in self.partitions.iter().filter(|partitions| partitions.sub.leases.is_none()) {
            let tenures: Vec<_> = std::mem::take(&mut *partitions.sub.tenures()).into_values().collect();
            for tenure in &tenures {
                tenure.close();
            }
            partitions.sub.stir_shards();
            leaving.push(async move {
                let bases = partitions.hand_over(tenures, self.settings.drain).await;
                if let Err(error) = partitions.sub.consumer.commit(bases).await {
                    tracing::warn!(%error, "the broker did not take the last position; the store has it");
                }
                partitions.sub.consumer.close(CLOSE_WITHIN).await;
            });
        }
        futures_util::future::join(futures_util::future::join_all(leaving), leased).await;
        for sub in &self.subscriptions {
            let given_up = sub.leaving.acquire_many(u32::try_from(LEAVING_MAX).unwrap_or(u32::MAX));
            self.env.timeout("giving up partitions", self.settings.drain, given_up).await.ok();
        }
        let leave = self.leave(self.committer.session());
        self.env.timeout("closing the session", CLOSE_WITHIN, leave).await.ok();
        for broker in &self.brokers {
            broker.close().await;
        }
    }

    /// Of a subscription whose keys have leases: what did not start goes back to the broker at once, what runs
    /// has its time, and each key's lease goes back with its last event.
    async fn drain_keys(&self, sub: &Arc<Subscription>) {
        let Some(leases) = &sub.leases else { return };
        sub.send_back(leases.close(&sub.budget));
        sub.stir_shards();
        settle::all(sub).await;
        if self.env.timeout("the drain", self.settings.drain, leases.empty()).await.is_err() {
            leases.abort_all();
            sub.stir_shards();
            self.env.timeout("a dropped handler", CLOSE_WITHIN, leases.empty()).await.ok();
        }
        self.env.timeout("the last commits", CLOSE_WITHIN, sub.committer.flush_all()).await.ok();
        // The keys are gone with the answer; what their last events are settled with follows from the shards.
        self.env.timeout("the last events", CLOSE_WITHIN, sub.budget.empty()).await.ok();
        self.env.timeout("the last settlements", CLOSE_WITHIN, settle::all(sub)).await.ok();
        sub.consumer.close(CLOSE_WITHIN).await;
    }

    async fn leave(&self, session: SessionId) {
        if let Err(error) = self.store.close_session(session).await {
            // Not fatal: it expires by itself.
            tracing::warn!(%error, "the session was not closed");
        }
    }

    /// The first error that stopped a subscription.
    pub(crate) fn take_error(&self) -> Option<Error> {
        self.subscriptions.iter().find_map(|sub| sub.take_error())
    }
}

/// A database that is away asks where a partition that it never read begins when it is back: at the end, that would be
/// past what came meanwhile.
fn begins_at_the_end(planned: &[Planned]) -> Option<String> {
    let latest = planned.iter().find(|plan| matches!(plan.settings.reset, Reset::Latest))?;
    let name = &latest.settings.name;
    Some(format!(
        "subscription {name:?} has start = \"latest\", for which all databases have to be there at the start"
    ))
}

/// Rule S3: a transaction that outlives a third of its session keeps others from taking that over.
fn limit_fits(kind: &str, limit: Option<Duration>, session: Duration) -> Result<(), Error> {
    let most = session / 3;
    match limit {
        Some(limit) if limit > most => {
            let what = format!(
                "[store.{kind}] effect_limit is {limit:?}, over a third of runtime.session ({session:?}); write at \
                 most {most:?}, or leave it out for that"
            );
            Err(Error::new(ErrorKind::Config, what))
        }
        _ => Ok(()),
    }
}

/// A lease's key lies in an index.
fn keys_fit(kind: &str, most: Option<usize>, longest: usize) -> Result<(), Error> {
    match most {
        Some(most) if longest > most => {
            let what = format!(
                "limits.key_bytes_max is {longest} bytes, and the {kind} store keeps leases of keys of at most {most}; \
                 lower it"
            );
            Err(Error::new(ErrorKind::Config, what))
        }
        _ => Ok(()),
    }
}

/// How long leaving a broker's group may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_too_long_for_a_lease_is_refused_at_start() {
        for (most, longest, fits) in
            [(None, 9_000, true), (Some(2_000), 2_000, true), (Some(2_000), 2_001, false)]
        {
            assert_eq!(keys_fit("postgres", most, longest).is_ok(), fits, "{most:?} {longest}");
        }
        let error = keys_fit("postgres", Some(2_000), 4_096).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let told = error.to_string();
        assert!(told.contains("limits.key_bytes_max is 4096") && told.contains("at most 2000"), "{told}");
    }

    #[test]
    fn s3_a_limit_over_a_third_of_the_session_is_refused() {
        let session = Duration::from_secs(15);
        for (limit, fits) in [(None, true), (Some(5_000), true), (Some(5_001), false)] {
            let fine = limit_fits("sqlite", limit.map(Duration::from_millis), session);
            assert_eq!(fine.is_ok(), fits, "{limit:?}");
        }
        let error = limit_fits("sqlite", Some(session), session).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let told = error.to_string();
        for part in ["[store.sqlite] effect_limit", "runtime.session", "at most 5s"] {
            assert!(told.contains(part), "{told}");
        }
    }
}
