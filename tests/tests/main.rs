//! Whole-runtime stories, in one binary.

mod journey;
mod sim;
mod tidy;
