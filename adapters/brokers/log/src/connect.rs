//! What names the log in code: `.broker(Log::on(Sqlite))`.

use std::sync::Arc;

use keylane::broker::Broker;
use keylane::{Env, Error};
use keylane_sqlite::Database;

use crate::broker::LogBroker;
use crate::config::LogConfig;

/// The embedded log on the database of store `S`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Log<S>(S);

impl<S> Log<S> {
    /// The log on such a database.
    #[must_use]
    pub const fn on(store: S) -> Self {
        Self(store)
    }
}

impl<S: Sync> Log<S> {
    /// Opens the file, which is shared with whatever else of this process has it open.
    ///
    /// # Errors
    /// As [`Database::open`] and [`LogBroker::over`].
    pub async fn connect(&self, config: LogConfig, env: &Env) -> Result<Arc<dyn Broker>, Error> {
        let database = Database::open(&config.path, env).await?;
        Ok(Arc::new(LogBroker::over(database, config, env).await?))
    }
}
