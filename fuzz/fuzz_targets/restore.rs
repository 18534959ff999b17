//! The stored form of a watermark.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keylane::watermark::fuzz::restore(bytes));
