//! The contract between a connector and the host that loads it.
//!
//! A [`Connector`] is a plugin with no authority of its own. Whatever it may
//! do reaches it through the [`Context`] of one call: HTTP to the origins it was
//! granted ([`OutboundHttp`]), a deadline, a cancellation token, a sink for
//! [`Progress`], a relay for the [asks](ask) that need a person, and a place to
//! record a [`Checkpoint`] before an effect. What it needs, it declares in a
//! [`Manifest`]; what went wrong, it says as a [`ConnectorError`], whose
//! variants are split by consequence: did something run, and may effects remain?
//!
//! This crate decides no policy. It never chooses who may approve, what is
//! granted, or which rule fires; it makes the answers checkable.

mod action;
pub mod ask;
mod capability;
mod connector;
mod context;
pub mod deceptive;
mod decode;
mod error;
pub mod facts;
mod manifest;
mod origin;
mod outbound;
mod progress;

pub use action::{ActionDecl, ActionResult, InputError, TriggerDecl};
pub use ask::AskRelay;
pub use capability::{Capability, CapabilityError};
pub use connector::{Connector, ConnectorFactory, EventHandler, Subscription, Target};
pub use context::{
    Checkpoint, CheckpointError, CheckpointLog, Context, NoCheckpoints, Provenance, SourceNote,
};
pub use decode::{decode, unquoted};
pub use error::{ConnectorError, Consequence, Reference, StopCause, chain};
pub use manifest::{DataDisclosure, Manifest, ManifestError};
pub use origin::{Origin, OriginError};
pub use outbound::{Grant, GrantError, OutboundError, OutboundHttp, OutboundResponse, Pins, Reach};
pub use progress::{Progress, ProgressSink, ProgressStream, TodoItem, ToolOutcome, progress_channel};
