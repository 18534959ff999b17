//! Where a part of an event is found, and where a subscription starts.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keylane::config::fuzz::event_text(bytes));
