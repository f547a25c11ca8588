//! The walls, with programs that try to get out. Linux only: nothing is held elsewhere.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "what is tried, and what it is tried at")]

mod attempts;
mod launch;
mod support;
mod threat_model;
