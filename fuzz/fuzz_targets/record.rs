//! The stored form of a record and of headers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keylane::event::fuzz::record(bytes));
