//! The scripted model and the real daemon, together and alone.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod client;
mod demo;
mod generations;
mod model;
mod order;
mod real;
mod real_newer;
mod recorded;
mod synapse;
mod wire2;
