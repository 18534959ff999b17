//! What the workspace's stories are told with: a simulated environment and decorators that fail.

pub mod faults;
pub mod process;
pub mod sim;

#[cfg(doctest)]
mod pages;
