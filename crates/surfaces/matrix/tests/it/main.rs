//! The connector against a real Synapse, and against a server that fails as Synapse does not.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says where")]

mod account;
mod actions;
mod faults;
mod gap;
mod incoming;
mod recorded;
mod rooms;
mod secrecy;
mod sending;
mod start;
mod support;
mod surface;
