//! The guards around a handler.

#[cfg(feature = "otel")]
pub mod remote;
