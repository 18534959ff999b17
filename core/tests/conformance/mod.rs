//! The memory store and the memory broker under the suites that every adapter runs.

mod broker;
pub(crate) mod clock;
mod memory;
mod store;
