//! The memory store and the memory brokers under the suites that every adapter runs.

mod broker;
pub(crate) mod clock;
mod memory;
mod memory_queues;
mod queue;
mod store;
