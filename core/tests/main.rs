//! The core's integration tests, in one binary.

mod conformance;
mod log_changed;
mod service;
mod ui;
