//! The core's integration tests, in one binary.

mod conformance;
mod service;
mod ui;
