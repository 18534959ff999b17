//! Where events are published, seen from outside a subscription: how much lies there, and how far a
//! group has come. The account trusts nobody else's count.

#[cfg(feature = "kafka")]
mod kafka;
mod log;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use keylane::broker::Publisher;
use keylane::config::{Catalog, Config};
use keylane::{Env, Error, ErrorKind};
use keylane_sqlite::Database;

use crate::service::BROKER;

/// A stream of the embedded log, or a topic of Kafka.
#[async_trait]
pub(crate) trait Topic: Send + Sync {
    /// The name under which records are published.
    fn name(&self) -> &str;

    /// What holds it, for people.
    fn place(&self) -> String;

    /// What publishes to it.
    async fn publisher(&self) -> Result<Arc<dyn Publisher>, Error>;

    /// Lowest and next position by partition.
    async fn ends(&self) -> Result<BTreeMap<u32, (u64, u64)>, Error>;

    /// How far a group has durably come, by partition.
    async fn positions(&self, group: &str) -> Result<BTreeMap<u32, u64>, Error>;
}

/// True when a group with these positions has finished all there is.
pub(crate) fn is_finished(ends: &BTreeMap<u32, (u64, u64)>, positions: &BTreeMap<u32, u64>) -> bool {
    ends.iter().all(|(partition, (low, high))| {
        low == high || positions.get(partition).is_some_and(|position| position >= high)
    })
}

/// The kinds of broker that this build knows.
pub(crate) fn enter(catalog: Catalog) -> Catalog {
    let catalog = log::enter(catalog);
    #[cfg(feature = "kafka")]
    let catalog = kafka::enter(catalog);
    catalog
}

/// The configured broker's topic, made where it is not there yet.
pub(crate) async fn connect(
    config: &Config,
    name: &str,
    database: &Arc<Database>,
    env: &Env,
) -> Result<Arc<dyn Topic>, Error> {
    let broker = config.brokers.get(BROKER).ok_or_else(|| {
        let what = format!("[broker.{BROKER}.KIND] is missing; orders publishes to the broker of this name");
        Error::new(ErrorKind::Config, what)
    })?;
    #[cfg(feature = "kafka")]
    if broker.kind == "kafka" {
        return kafka::connect(broker.section.read()?, name, env).await;
    }
    log::connect(broker.section.read()?, name, database, env).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_finished_when_every_partition_is() {
        let ends = BTreeMap::from([(0, (0, 5)), (1, (3, 3)), (2, (0, 1))]);
        assert!(!is_finished(&ends, &BTreeMap::from([(0, 5)])));
        assert!(!is_finished(&ends, &BTreeMap::from([(0, 4), (2, 1)])));
        assert!(is_finished(&ends, &BTreeMap::from([(0, 5), (2, 1)])));
    }
}
