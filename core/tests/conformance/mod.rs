//! The memory store and the memory brokers under the suites that every adapter runs.

mod broker;
pub(crate) mod clock;
mod memory;
mod queue;
mod queues;
mod store;
