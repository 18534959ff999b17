//! What the workspace's stories are told with: a simulated environment and decorators that fail.

pub mod process;

pub use keylane_sim::{faults, world as sim};

#[cfg(doctest)]
mod pages;
