//! The plugin against daemons: a fake one for faults, the real one for truth.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so"
)]

mod arrows;
mod asks;
mod bad_input;
mod cuts;
mod faults;
mod garbage;
mod manifest;
mod place;
mod probe;
mod real;
mod releases;
mod replaced;
mod resume;
mod support;
mod tighten;
mod walls;
mod wires;
