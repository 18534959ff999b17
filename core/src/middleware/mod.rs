//! What stands between the broker's delivery and the handler.

pub(crate) mod boundary;
pub(crate) mod chain;
#[cfg(feature = "otel")]
pub mod remote;
pub mod retry;
pub(crate) mod trace;

pub use retry::{OnExhausted, RetryPolicy};
