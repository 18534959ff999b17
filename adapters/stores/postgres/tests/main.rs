//! The store's contract against a real server, and what only a real server shows.
//!
//! `tests/brokers/up postgres` starts one and prints `KEYLANE_TEST_POSTGRES`; without it every test here prints a line
//! and passes.
#![expect(clippy::unwrap_used, reason = "a fault of the stage is a failed test")]

#[macro_use]
mod stage;
mod cases;

mod conformance {
    keylane::store_conformance!(stage!());
}
