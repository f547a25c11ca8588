//! What the tests and the demo run against: a real daemon, and a model that follows a script.
//!
//! Tests here start real processes. Everything is on 127.0.0.1, in temporary directories, and is
//! gone afterwards, however the test ends.

pub mod demo;
pub mod fake;
pub mod model;
pub mod real;
pub mod scratch;
pub mod synapse;
pub mod telegram;

mod cached;
mod unseen;
mod watchdog;

pub use model::{Answer, Call, Script, ScriptedModel, Turn};
pub use real::{RealDaemon, RealError};
pub use synapse::Synapse;
pub use unseen::unseen;
