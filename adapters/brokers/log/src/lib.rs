//! The embedded log.
mod append;
mod chunk;
mod error;
mod number;
mod page;
mod partition;
mod publisher;
mod retention;
mod share;
mod stream;
