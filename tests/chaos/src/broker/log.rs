//! The embedded log, in the file of the store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::{Broker, Publisher};
use keylane::{Env, Error};
use keylane_log::{LogBroker, LogConfig};
use keylane_sqlite::Database;

use super::{BrokerConfig, BrokerSide};

const STREAM: &str = "chaos";

/// The driver's view of the log.
pub(crate) struct LogSide {
    log: LogBroker,
    path: String,
    expiry: Duration,
}

impl LogSide {
    /// In this file; a member is gone as soon as its session.
    pub(crate) async fn make(file: &Path, expiry: Duration, env: &Env) -> Result<Self, Error> {
        let database = Database::open(file, env).await?;
        let path = database.path().display().to_string();
        let config = LogConfig {
            path: path.clone(),
            streams: vec![STREAM.to_owned()],
            partitions: 12,
            ..LogConfig::default()
        };
        Ok(Self { log: LogBroker::over(database, config, env).await?, path, expiry })
    }

    /// The same file, for those who have no database yet.
    pub(crate) fn file(folder: &Path) -> std::path::PathBuf {
        folder.join("chaos.db")
    }
}

#[async_trait]
impl BrokerSide for LogSide {
    fn config(&self, _: usize) -> BrokerConfig {
        let expiry = self.expiry.as_millis();
        BrokerConfig {
            broker: format!("[broker.main.log]\npath = {:?}\nmember_expiry = \"{expiry}ms\"\n", self.path),
            subscription: String::new(),
            source: STREAM.to_owned(),
        }
    }

    fn target(&self) -> String {
        STREAM.to_owned()
    }

    async fn publisher(&self) -> Result<Arc<dyn Publisher>, Error> {
        self.log.publisher().await
    }
}
