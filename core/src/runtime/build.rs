//! Building a runtime: adapters by value, subscriptions by name, everything checked before anything is
//! connected.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::adapters::{AnyBroker, AnyStore};
use super::handle::Handle;
use super::homes::Homes;
use super::plan;
use super::worker::{From, Planned};
use crate::broker::{Broker, BrokerAdapter, Capabilities};
use crate::config::{Catalog, Config, Source, Subscription};
use crate::env::Env;
use crate::error::{Error, ErrorKind};
use crate::handler::{IntoRouteTable, RouteTable};
use crate::store::{Store, StoreAdapter};

/// A runtime in the making: where its configuration comes from, which adapters it may use, and what
/// handles its subscriptions.
///
/// ```no_run
/// # use keylane::{Runtime, Routes, Error};
/// # async fn example<B: keylane::broker::BrokerAdapter, S: keylane::store::StoreAdapter>(log: B, sqlite: S, routes: Routes) -> Result<(), Error> {
/// Runtime::from_file("subscriptions.toml")?
///     .broker(log)
///     .store(sqlite)
///     .subscription("billing", routes)
///     .run()
///     .await
/// # }
/// ```
///
/// Every name in the file must have its routes in code and the other way round; a handler that writes to
/// another store than the configured one is refused; so is whatever the configured broker can't do. All of
/// that is told at once by [`run`](Self::run) or [`start`](Self::start), before anything is connected.
#[must_use = "a runtime does nothing until it runs"]
pub struct Runtime {
    source: Source,
    variables: Variables,
    stores: Vec<Arc<dyn AnyStore>>,
    brokers: Vec<Arc<dyn AnyBroker>>,
    routes: Vec<(String, RouteTable)>,
    env: Option<Env>,
    store_layers: Vec<Layer<dyn Store>>,
    broker_layers: Vec<Layer<dyn Broker>>,
}

type Layer<T> = Box<dyn Fn(Arc<T>) -> Arc<T> + Send + Sync>;
type Variables = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

impl Runtime {
    /// Configured by a TOML file.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        Ok(Self::from_source(Source::file(path)?))
    }

    /// Configured by TOML text, such as one that is compiled into the service.
    pub fn from_text(toml: impl Into<String>) -> Self {
        Self::from_source(Source::text("configuration", toml))
    }

    /// Configured by any source, such as the `[keylane]` table of the service's own file.
    pub fn from_source(source: Source) -> Self {
        Self {
            source,
            variables: Arc::new(|name| std::env::var(name).ok()),
            stores: Vec::new(),
            brokers: Vec::new(),
            routes: Vec::new(),
            env: None,
            store_layers: Vec::new(),
            broker_layers: Vec::new(),
        }
    }

    /// Allows a kind of broker; `[broker.NAME.KIND]` says which is used and how.
    pub fn broker(mut self, adapter: impl BrokerAdapter) -> Self {
        self.brokers.push(Arc::new(adapter));
        self
    }

    /// Allows a kind of store; `[store.KIND]` says which is used and how.
    pub fn store(mut self, adapter: impl StoreAdapter) -> Self {
        self.stores.push(Arc::new(adapter));
        self
    }

    /// Says what handles the subscription of this name.
    pub fn subscription(mut self, name: impl Into<String>, routes: impl IntoRouteTable) -> Self {
        self.routes.push((name.into(), routes.into_table()));
        self
    }

    /// Another environment than Tokio's: for simulations and tests.
    pub fn env(mut self, env: Env) -> Self {
        self.env = Some(env);
        self
    }

    /// Puts something around the opened store: measuring, or the faults of a test. The last one is outermost.
    pub fn store_layer(
        mut self,
        layer: impl Fn(Arc<dyn Store>) -> Arc<dyn Store> + Send + Sync + 'static,
    ) -> Self {
        self.store_layers.push(Box::new(layer));
        self
    }

    /// Puts something around each connected broker. The last one is outermost.
    pub fn broker_layer(
        mut self,
        layer: impl Fn(Arc<dyn Broker>) -> Arc<dyn Broker> + Send + Sync + 'static,
    ) -> Self {
        self.broker_layers.push(Box::new(layer));
        self
    }

    /// Where `${NAME}` in the configuration is looked up, in place of the process's environment.
    pub fn variables(mut self, lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        self.variables = Arc::new(lookup);
        self
    }

    /// Runs until SIGTERM or SIGINT, then drains: pulls nothing more, lets handlers finish within
    /// `runtime.drain_max`, gives everything back. A second signal ends it at once.
    ///
    /// # Errors
    /// What is wrong with the configuration, all of it at once; what kept store or broker from starting;
    /// what stopped a subscription.
    pub async fn run(self) -> Result<(), Error> {
        let handle = self.start().await?;
        let env = handle.env().clone();
        let signals = async {
            env.stop_signal().await;
            tracing::info!("asked to stop: draining; a second signal ends at once");
            handle.shutdown();
            env.stop_signal().await;
        };
        // Biased: a runtime that has come to its end by itself says so, whatever signals do.
        tokio::select! { biased;
            ended = handle.join() => ended,
            () = signals => {
                handle.abandon();
                Err(Error::new(ErrorKind::Closed, "ended by a second signal before the drain was over"))
            }
        }
    }

    /// Starts, and returns a handle; takes no signals and installs no tracing subscriber.
    ///
    /// # Errors
    /// As [`run`](Self::run), up to the start.
    pub async fn start(self) -> Result<Handle, Error> {
        let env = self.env.clone().unwrap_or_else(Env::tokio);
        let config = self.config()?;
        self.check(&config)?;
        let stores = self.open_stores(&config, &env).await?;
        let brokers = self.connect(&config, &env).await?;
        let planned = plan_all(&config, self.routes, &brokers)?;
        let settings = plan::worker(&config.runtime);
        let homes = Homes::start(env.clone(), stores.clone(), settings, planned).await?;
        Ok(Handle::new(env, homes, stores, brokers))
    }

    /// Checks everything that can be checked without connecting anywhere.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn check_only(self) -> Result<(), Error> {
        let config = self.config()?;
        self.check(&config)
    }

    fn config(&self) -> Result<Config, Error> {
        let catalog = self.stores.iter().fold(Catalog::new(), |catalog, store| store.enter(catalog));
        let catalog = self.brokers.iter().fold(catalog, |catalog, broker| broker.enter(catalog));
        let variables = self.variables.clone();
        Config::parse(self.source.clone(), &catalog, &move |name| variables(name))
    }

    /// One store for each home.
    async fn open_stores(&self, config: &Config, env: &Env) -> Result<Vec<Arc<dyn Store>>, Error> {
        let kind = &config.store.kind;
        let adapter = self.stores.iter().find(|adapter| adapter.kind() == kind);
        let adapter = adapter.expect("the catalog holds the stores of this runtime and no other");
        let opened = adapter.open(&config.store.section, env).await;
        let stores = opened.map_err(|error| error.context(format!("[store.{kind}]")))?;
        let layered = |store| self.store_layers.iter().fold(store, |store, layer| layer(store));
        Ok(stores.into_iter().map(layered).collect())
    }

    async fn connect(&self, config: &Config, env: &Env) -> Result<BTreeMap<String, Arc<dyn Broker>>, Error> {
        let mut brokers = BTreeMap::new();
        for (name, chosen) in &config.brokers {
            let adapter = self.brokers.iter().find(|adapter| adapter.kind() == chosen.kind);
            let adapter = adapter.expect("the catalog holds the brokers of this runtime and no other");
            let place = format!("[broker.{name}.{}]", chosen.kind);
            let broker = adapter.connect(&chosen.section, env).await.map_err(|error| error.context(place))?;
            let broker = self.broker_layers.iter().fold(broker, |broker, layer| layer(broker));
            brokers.insert(name.clone(), broker);
        }
        Ok(brokers)
    }

    /// Names in code and file match, either way round, and handlers write to the configured store.
    fn check(&self, config: &Config) -> Result<(), Error> {
        let mut wrong = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for (name, routes) in &self.routes {
            if !seen.insert(name.as_str()) {
                wrong.push(format!("subscription {name:?} has routes twice in the code; give it one `Routes` with all of them"));
            }
            if !config.subscriptions.contains_key(name) {
                let known = config.subscriptions.keys().map(String::as_str);
                wrong.push(format!(
                    "subscription {name:?} has routes in the code and no table in the configuration; {}",
                    nearest(name, known, "add", &format!("[subscription.{name}]"))
                ));
            }
            wrong.extend(routes.mistakes().iter().map(|mistake| format!("subscription {name:?}: {mistake}")));
            wrong.extend(self.wrong_stores(name, routes, &config.store.kind));
        }
        for name in config.subscriptions.keys().filter(|name| !seen.contains(name.as_str())) {
            wrong.push(format!(
                "[subscription.{name}] has no routes in the code; {}",
                nearest(name, seen.iter().copied(), "call", &format!(".subscription({name:?}, routes)"))
            ));
        }
        if wrong.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Config, wrong.join("\n"))) }
    }

    fn wrong_stores(&self, name: &str, routes: &RouteTable, configured: &str) -> Vec<String> {
        let adapter = self.stores.iter().find(|adapter| adapter.kind() == configured);
        let ours = adapter.map(|adapter| adapter.connection_type());
        let foreign = routes.stores_needed().filter(|(need, _)| Some(need.adapter) != ours);
        let told = foreign.map(|(need, route)| {
            format!(
                "subscription {name:?}: the handler of {route} writes to the store {:?}, and the configured one is \
                 {configured:?}; take `Effects` of the configured store, or configure [store.{}]",
                need.kind, need.kind
            )
        });
        told.collect()
    }
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>, verb: &str, what: &str) -> String {
    let close =
        known.map(|other| (strsim::jaro_winkler(name, other), other)).filter(|(score, _)| *score > 0.8);
    match close.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((_, other)) => format!("{verb} `{what}`, or did you mean {other:?}?"),
        None => format!("{verb} `{what}`"),
    }
}

fn plan_all(
    config: &Config,
    routes: Vec<(String, RouteTable)>,
    brokers: &BTreeMap<String, Arc<dyn Broker>>,
) -> Result<Vec<Planned>, Error> {
    let can = |of: &Subscription| Ok((of.name.clone(), brokers[&of.broker].capabilities(&of.adapter)?));
    let can: BTreeMap<String, Capabilities> =
        config.subscriptions.values().map(can).collect::<Result<_, Error>>()?;
    config.check_order(|subscription| can[&subscription.name].ordered)?;
    let mut planned: Vec<Planned> = Vec::new();
    for (name, routes) in routes {
        let subscription = &config.subscriptions[&name];
        let broker = brokers[&subscription.broker].clone();
        let settings = plan::subscription(subscription, &can[&name])?;
        if let Some(other) = planned.iter().find(|other| other.settings.scope == settings.scope) {
            return Err(plan::twice(subscription, &other.settings.name));
        }
        let permits = Arc::new(Semaphore::new(settings.concurrency));
        planned.push(Planned { settings, routes: Arc::new(routes), from: From::Broker(broker), permits });
    }
    Ok(planned)
}
