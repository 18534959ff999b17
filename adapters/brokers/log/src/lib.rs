//! The embedded log.
mod chunk;
mod partition;
mod retention;
mod share;
