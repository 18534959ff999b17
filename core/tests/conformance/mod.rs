//! The memory store and the memory broker under the suites that every adapter runs.

mod broker;
mod clock;
mod store;
