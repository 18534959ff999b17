//! The core's integration tests, in one binary.

mod conformance;
mod crashes;
mod order;
mod paused;
mod service;
mod ui;
