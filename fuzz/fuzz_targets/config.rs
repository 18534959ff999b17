//! A configuration, as a file and as a table of another one.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keylane::config::fuzz::config(bytes));
