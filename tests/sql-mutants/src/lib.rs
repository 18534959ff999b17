//! Rules of the store protocol broken on purpose in the statements of SQLite and PostgreSQL.
//!
//! The simulation can't see into a database. What it does for the core, this does for the statements: each mutant
//! replaces one piece of one file, and the tests named beside it must fail then. See docs/simulation.md.

mod list;
mod tree;

pub use list::{MUTANTS, Mutant};
pub use tree::{Ended, Tree};
