//! The embedded log: append-only streams in SQLite, as a broker.
//!
//! It is the default for development and for services on one machine: no server, the same promises. A
//! service names it by value, and where the store is SQLite too, both share the file's one writer:
//!
//! ```no_run
//! # use keylane_log::Log;
//! # use keylane_sqlite::Sqlite;
//! let broker = Log::on(Sqlite);
//! ```
//!
//! A *stream* has a fixed number of *partitions*; a record's key chooses one ([`partition_of`]), and
//! within it records have offsets from 0 on, without holes. Groups read streams by positions; the members
//! of a group share the partitions among them, across processes. Published records are durable when the
//! answer comes; those that came while the last transaction ran share the next one.
//!
//! # What it does not do
//!
//! - Retention is by time and size only, and off by default: it does not wait for slow groups. One that was
//!   overtaken gets an error and finds the new low bound (rule L2).
//! - A record's time is the publisher's or, without one, when it was published; times may fall. Retention goes
//!   by when a record was appended, so that old events that are published anew are kept as long as others.
//! - A publisher's own record ids are not kept; the position is a record's identity.
//! - The number of a stream's partitions can't be changed.
#![warn(missing_docs)]

mod append;
mod broker;
mod chunk;
mod config;
mod connect;
mod consumer;
mod error;
mod group;
mod member;
mod number;
mod page;
mod partition;
mod publisher;
mod reading;
mod replay;
mod retention;
mod share;
mod shared;
mod stream;
mod sweep;

pub use broker::LogBroker;
pub use config::LogConfig;
pub use connect::Log;
pub use partition::partition_of;
pub use replay::{Position, Replayed};
