//! Matrix, as a connector and as a surface.
//!
//! What a homeserver says in answer to `/sync` is read by [`update`], a pure function from one answer
//! to what it means here, in order: messages and reactions of who is allowed, invitations, and what became of the
//! rooms. [`sync`] brings the answers in, fills the gaps that a server leaves when there was much, and goes on from
//! where the caller says that all is durable. What goes out is sent under a transaction id of the caller's, so that
//! the same message sent again after a crash is the same event; servers remember those for a day at least.
//!
//! The transport is the contract's `OutboundHttp`, to the one origin of the homeserver. The access
//! token is one header of every request and of nothing else: no error, log line or `Debug` output
//! here can contain it.
//!
//! This crate never decides who may do what, decrypts nothing, and speaks to no other server: it says
//! who acted, and whether the configuration lets that in at all.

pub mod api;
pub mod config;
mod connector;
pub mod examine;
pub mod id;
pub mod login;
pub mod rooms;
pub mod surface;
pub mod sync;
pub mod text;
pub mod token;
pub mod update;

pub use api::{Api, ApiError};
pub use config::{Allow, Config, Settings};
pub use connector::{MANIFEST, MatrixConnector, MatrixFactory};
pub use id::{ChatKey, EventId, RoomId, UserId};
pub use login::{Homeserver, LoginError, Session};
pub use rooms::Rooms;
pub use surface::Matrix;
pub use sync::Syncer;
pub use token::AccessToken;

/// The connector's name.
pub const NAME: &str = "connector-matrix";
