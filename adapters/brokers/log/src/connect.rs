//! What names the log in code: `.broker(Log::on(Sqlite))`.

use std::sync::Arc;

use keylane::broker::{Broker, BrokerAdapter};
use keylane::config::NoKeys;
use keylane::{Env, Error};
use keylane_sqlite::{Database, Sqlite};

use crate::broker::LogBroker;
use crate::config::LogConfig;

/// The embedded log on the database of store `S`: `.broker(Log::on(Sqlite))`, and in the configuration
/// `[broker.NAME.log]`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Log<S>(S);

impl<S> Log<S> {
    /// The log on such a database. It need not be the one that the configured store uses.
    #[must_use]
    pub const fn on(store: S) -> Self {
        Self(store)
    }
}

impl Log<Sqlite> {
    /// The log by itself, for what only a log can do: its streams, their bounds, replay, retention.
    /// A runtime of this process that has the same file shares its database.
    ///
    /// # Errors
    /// As [`Database::open`] and [`LogBroker::over`].
    pub async fn open(&self, config: LogConfig, env: &Env) -> Result<LogBroker, Error> {
        let database = Database::open(&config.path, env).await?;
        LogBroker::over(database, config, env).await
    }
}

impl BrokerAdapter for Log<Sqlite> {
    const KIND: &'static str = "log";
    type Config = LogConfig;
    type Subscription = NoKeys;

    async fn connect(&self, config: LogConfig, env: &Env) -> Result<Arc<dyn Broker>, Error> {
        Ok(Arc::new(self.open(config, env).await?))
    }
}
