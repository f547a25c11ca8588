//! Prelude: what a host of one's own is written with, as the example `own_host` is.

pub use async_trait::async_trait;
pub use connector_rules::{RuleSet, SourceFile};
pub use tokio_util::sync::CancellationToken;

pub use crate::assemble::{self, Parts};
pub use crate::build::registry::HTTP;
pub use crate::chat::describe;
pub use crate::console::render;
pub use crate::engine::{Inbox, unique};
pub use crate::ledger::steps::decide::Decision;
pub use crate::surface::{DeliveryError, Notice, Surface, SurfaceError};
pub use crate::view::CardView;
pub use connector_gate::clock::Clock;
pub use connector_gate::policy::{Actor, GateConfig};
