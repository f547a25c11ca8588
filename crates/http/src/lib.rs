//! HTTP as a connector: requests with JSON to one granted origin.
//!
//! `get` reads and `request` changes, so that the one passes a gate and the other waits at it. What a card
//! shows of a request is what is sent: a path is taken only where every parser reads the same of it, no
//! redirect is followed, nothing is sent twice.
//!
//! What it never does: speak to another origin, or send a header that neither the configuration nor the
//! body's type gives.

mod config;
mod connector;
mod path;
mod request;

pub use config::{Config, Limits};
pub use connector::{HttpConnector, HttpFactory, MANIFEST};

/// The connector's name.
pub const NAME: &str = "connector-http";
