//! The core's integration tests, in one binary.

mod ahead;
mod conformance;
mod service;
mod ui;
mod waiting;
