//! No stream of bytes makes the event decoder panic, or read differently when it
//! is cut elsewhere.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let whole = connector_opencode::testing::decode_events(bytes, usize::MAX, 4096);
    let size = usize::from(bytes.first().copied().unwrap_or(1) % 32) + 1;
    assert_eq!(connector_opencode::testing::decode_events(bytes, size, 4096), whole);
});
