//! A message of a broker, under three sets of rules.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keylane::event::fuzz::decode(bytes));
