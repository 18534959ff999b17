//! A store and a broker in memory, by the same contracts as the real ones: for tests, simulations and
//! trying things out. What they hold ends with the process.
//!
//! [`Memory`] is one database, [`MemoryBroker`] one server with partitioned logs, [`MemoryQueues`] one with
//! queues; clones are handles on the same one, so that several runtimes of a process share them as processes
//! share a server. Nothing in here depends on the order of a hash map or on a clock of its own: the same calls
//! give the same answers.

mod broker;
mod queue;
mod store;

pub use broker::MemoryBroker;
pub use queue::{MemoryQueues, Queued};
pub use store::{Memory, MemoryTx};
