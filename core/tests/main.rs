//! The core's integration tests, in one binary.

mod ahead;
mod at_once;
mod behind;
mod conformance;
mod crashes;
mod keys;
mod late_answer;
mod log_changed;
mod order;
mod paused;
mod service;
mod shared;
mod shared_faults;
mod signals;
mod spread;

mod trace;
mod ui;
mod waiting;
