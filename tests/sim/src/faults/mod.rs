//! Decorators that make a store or a broker slow, lossy or away, by a seed; and eyes that see what passes
//! through them.

mod broker;
mod calm;
mod consumer;
mod link;
mod store;

pub use broker::{BrokerEyes, BrokerFaults, FaultyBroker};
pub use calm::Calm;
pub use link::Link;
pub use store::{FaultyStore, StoreEyes, StoreFaults};
