//! The core's integration tests, in one binary.

mod conformance;
mod crashes;
mod paused;
mod service;
mod ui;
