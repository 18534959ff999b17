//! SQLite as Keylane's store: the embedded default.
//!
//! [`Database`] is one file in one process: its one writer, its readers, its migrations. The store
//! and the embedded log share it, and so does the service, whose tables may lie in the same file;
//! all tables of ours begin with `keylane_`.
#![warn(missing_docs)]

pub mod database;
mod error;

pub use database::Database;
