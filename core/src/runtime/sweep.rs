//! Retention: forgetting ledger rows that are older than a subscription keeps them, by dropping, and what the dead left.

use std::sync::Arc;

use super::settings::{LedgerMode, WorkerSettings};
use super::subscription::Subscription;
use crate::env::Env;
use crate::store::Store;

/// Runs until its environment drops it.
pub(crate) async fn run(
    env: Env,
    store: Arc<dyn Store>,
    worker: Arc<WorkerSettings>,
    subscriptions: Vec<Arc<Subscription>>,
) {
    loop {
        for subscription in &subscriptions {
            let settings = &subscription.settings;
            // Without a ledger too: the leases of the dead, and tries of events that don't come again (rule S7).
            if settings.ledger != LedgerMode::Id && subscription.leases.is_none() {
                continue;
            }
            match store.sweep(&settings.group, settings.keep).await {
                Ok(0) => {}
                Ok(dropped) => {
                    tracing::info!(subscription = %settings.name, dropped, "old ledger rows were dropped")
                }
                Err(error) => {
                    tracing::warn!(subscription = %settings.name, %error, "old ledger rows were not dropped")
                }
            }
        }
        env.sleep(worker.sweep_every).await;
    }
}
