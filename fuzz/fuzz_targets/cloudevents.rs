//! CloudEvents, structured and binary.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keylane::event::fuzz::cloudevents(bytes));
