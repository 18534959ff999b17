//! The core's integration tests, in one binary.

mod ahead;
mod conformance;
mod log_changed;
mod service;
mod signals;
mod ui;
mod waiting;
