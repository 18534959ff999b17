//! The log from outside: stories over real files, with two "processes" on one file where it matters.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod child;
mod conformance;
mod consume;
mod damage;
mod fixture;
mod freezer;
mod group;
mod publish;
mod reference;
mod replay;
mod retention;
mod runtime;
