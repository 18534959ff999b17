//! The runtime: what turns deliveries into handled events. In reading order:
//!
//! - `pull` takes deliveries and assignment changes from the broker, `intake` makes items of them,
//!   `admit` asks the store what it knows of them, where the ledger is by id or keys have leases;
//! - `shard` owns lanes and runs handlers through the chain;
//! - `committer` writes results in groups and hands their fates back, `settle` tells the broker;
//! - `partitions` claims and hands over, `leases` knows our keys and what waits for one, `tenure` is a
//!   partition's or a key's time with us;
//! - `keeper` renews the session that everything stands on, `promise` says how long it may be relied on;
//! - `worker` puts it together, `homes` is one worker for each database of a store, `spread` the consumer that they share; `build` is how a service asks for one, `plan` reads the configuration
//!   for it, `handle` is what the service holds, `admin` what an operator does.

mod adapters;
mod admin;
mod admit;
mod budget;
mod build;
mod committer;
mod handle;
mod homes;
mod intake;
mod item;
mod keeper;
mod leases;
mod mailbox;
mod partitions;
mod plan;
mod promise;
mod pull;
pub(crate) mod settings;
mod settle;
mod shard;
mod spread;
mod subscription;
mod sweep;
mod tenure;
mod twins;
mod worker;

pub use admin::Admin;
pub use build::Runtime;
pub use handle::{Halted, Handle};
pub(crate) use item::{Item, Mark};
pub(crate) use promise::Promise;
