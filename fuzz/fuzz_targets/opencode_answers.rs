//! No body makes a reader of the daemon's answers panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    connector_opencode::testing::read_answers(bytes);
});
