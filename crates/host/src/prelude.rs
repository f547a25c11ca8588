//! Prelude: what a host of one's own is written with, as the example `own_host` is.

pub use async_trait::async_trait;
pub use connector_gate::clock::Clock;
pub use connector_gate::decision::Decision;
pub use connector_gate::policy::{Actor, GateConfig};
pub use connector_rules::{RuleSet, SourceFile};
pub use connector_surface::view::CardView;
pub use connector_surface::words::decided;
pub use connector_surface::{DeliveryError, Inbox, Surface, SurfaceError, View};
pub use tokio_util::sync::CancellationToken;

pub use crate::assemble::{self, Parts};
pub use crate::build::registry::HTTP;
pub use crate::console::render;
pub use connector_engine::unique;
