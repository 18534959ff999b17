//! What names a broker in code: `.broker(Kafka)`.

use std::sync::Arc;

use super::Broker;
use crate::config::Component;
use crate::env::Env;
use crate::error::Error;

/// A kind of broker that a service can name by value.
///
/// The service that wants it depends on its crate; nothing is registered at link time, and the core
/// knows no adapter.
pub trait BrokerAdapter: Send + Sync + 'static {
    /// The key of its table in `[broker.NAME.KIND]` and `[subscription.NAME.KIND]`.
    const KIND: &'static str;
    /// Its keys in `[broker.NAME.KIND]`.
    type Config: Component;
    /// Its keys in `[subscription.NAME.KIND]`; [`NoKeys`](crate::config::NoKeys) when it has none.
    type Subscription: Component;

    /// Makes the broker of one name. It may connect later; that it is away is no error yet.
    ///
    /// # Errors
    /// What is wrong with the configuration and could not be told from the file alone.
    fn connect(
        &self,
        config: Self::Config,
        env: &Env,
    ) -> impl Future<Output = Result<Arc<dyn Broker>, Error>> + Send;
}
