//! A stream of the embedded log.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use keylane::broker::{Broker, BrokerAdapter, Publisher};
use keylane::config::Catalog;
use keylane::{Env, Error};
use keylane_log::{Log, LogBroker, LogConfig};
use keylane_sqlite::{Database, Sqlite};

use super::Topic;

type Adapter = Log<Sqlite>;

struct Stream {
    log: LogBroker,
    name: String,
    file: String,
}

pub(super) fn enter(catalog: Catalog) -> Catalog {
    catalog
        .broker::<<Adapter as BrokerAdapter>::Config, <Adapter as BrokerAdapter>::Subscription>(Adapter::KIND)
}

/// A second pair of eyes on the log, beside the runtime's own: both share the file's one writer.
pub(super) async fn connect(
    config: LogConfig,
    name: &str,
    database: &Arc<Database>,
    env: &Env,
) -> Result<Arc<dyn Topic>, Error> {
    let here = std::env::current_dir().unwrap_or_default();
    let file = database.path().strip_prefix(here).unwrap_or(database.path()).display().to_string();
    let log = LogBroker::over(database.clone(), config, env).await?;
    Ok(Arc::new(Stream { log, name: name.to_owned(), file }))
}

#[async_trait]
impl Topic for Stream {
    fn name(&self) -> &str {
        &self.name
    }

    fn place(&self) -> String {
        format!("the embedded log in {}", self.file)
    }

    async fn publisher(&self) -> Result<Arc<dyn Publisher>, Error> {
        self.log.publisher().await
    }

    async fn ends(&self) -> Result<BTreeMap<u32, (u64, u64)>, Error> {
        let bounds = self.log.bounds(&self.name).await?;
        Ok((0..).zip(bounds.iter().map(|bounds| (bounds.low, bounds.high))).collect())
    }

    async fn positions(&self, group: &str) -> Result<BTreeMap<u32, u64>, Error> {
        Ok(self.log.group_positions(&self.name, group).await?.into_iter().collect())
    }
}
