//! Durations as text.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keylane::config::fuzz::period(bytes));
