//! The order service as a process: killed, paused and started again, and checked by eyes other than its
//! own. What the handlers left behind is read from the file, and what they did from their own lines.
#![expect(clippy::unwrap_used, reason = "a test that fails shows where")]

mod eyes;
mod kafka;
mod kills;
mod lifecycle;
mod process;
mod turns;
