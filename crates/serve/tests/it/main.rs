//! The program, driven by the official TypeScript SDK, by our own host's client, and by hand.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so"
)]

mod by_hand;
mod client;
mod clients;
mod conformance;
mod examples;
mod hosted;
mod http;
mod inspector;
mod install;
mod opencode_host;
mod served;
