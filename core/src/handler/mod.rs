//! Handlers.

mod call;
mod failure;

pub use call::{AnyHandler, Call, CallItem, Items, Outcome, Scene};
pub use failure::{Failure, FailureClass, ResultExt};
