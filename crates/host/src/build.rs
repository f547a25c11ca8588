//! A host is built from its configuration and a [`Registry`] of what this binary contains.
//!
//! A [`Plan`] is what the configuration describes: each connector instance with what it declares and
//! would touch. Nothing is started, called or written for it, and it is what `rules`, `config check` and
//! `doctor` look at; `run` makes the host of it.

mod matrix;
pub mod packages;
mod plan;
pub mod registry;
mod secrets;
mod telegram;

pub(crate) use plan::Attached;
pub use plan::{Plan, Planned, Unset};
pub use registry::{ConnectorEntry, Registry, SurfaceEntry};
pub(crate) use secrets::gather;

/// Error of a configuration that describes no host, in words for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PlanError(String);

impl PlanError {
    /// Error of the instance `name`.
    fn of(name: &str, reason: impl std::fmt::Display) -> Self {
        Self(format!("[connectors.{name}]: {reason}"))
    }
}
