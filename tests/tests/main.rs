//! Whole-runtime stories, in one binary.
#![expect(clippy::unwrap_used, reason = "a story that can't be told has failed")]

mod halts;
mod journey;
mod promises;
mod sim;
mod stage;
mod tidy;
mod tls;
mod told;
