//! Whole-runtime stories, in one binary.
#![expect(clippy::unwrap_used, reason = "a story that can't be told has failed")]

mod journey;
mod sim;
mod tidy;
