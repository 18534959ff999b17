//! The contracts of the edges as runnable checks, for every adapter and decorator, ours and yours.
//!
//! Each bullet on [`Store`](crate::store::Store), [`Broker`](crate::broker::Broker),
//! [`Consumer`](crate::broker::Consumer) and [`Publisher`](crate::broker::Publisher) has a check of the
//! same name in [`store`] or [`broker`]. An adapter's author writes a harness and one line; every check
//! then is a test of its own in the output:
//!
//! ```text
//! // tests/conformance.rs, with `keylane = { features = ["conformance"] }` and tokio (`macros`, `rt`).
//! keylane::store_conformance!(MyStore::empty().await);
//! keylane::broker_conformance!(MyBroker::running().await);
//! ```
//!
//! The harness expression is evaluated once a test: each check gets an empty database or a fresh source.
//! What an adapter can't show, its harness says; the check is then skipped with a line on standard error
//! that names it and the reason. Nothing is skipped in silence.

pub mod broker;
#[cfg(test)]
mod pairing;
mod patience;
pub mod store;

use std::io::Write;

pub use patience::Gate;

/// A check that an adapter can't show, and why.
pub type Cannot = (&'static str, &'static str);

/// Whether `check` is to be run; a skip is printed with its reason, also where test output is captured.
#[must_use]
pub fn is_shown(check: &str, cannot: &[Cannot]) -> bool {
    match cannot.iter().find(|(name, _)| *name == check) {
        Some((name, why)) => {
            skipped(name, why);
            false
        }
        None => true,
    }
}

/// Says that something is not checked. Standard error itself, because the test runner swallows what
/// `eprintln!` writes in a test that passes.
pub(crate) fn skipped(what: &str, why: &str) {
    // Nobody is left to tell when standard error is closed.
    drop(writeln!(std::io::stderr(), "conformance: skipped {what}: {why}"));
}
