//! Agentic coding through a running `opencode serve`: a connector with two
//! actions, `run_task` and `continue_session`, and no triggers.
//!
//! A call becomes one turn of a session at the daemon, which edits files and runs
//! commands. This crate only speaks HTTP to one origin, through the
//! [`OutboundHttp`](connector_contract::OutboundHttp) it is handed: it starts no
//! process, reads no file, and opens no socket of its own.
//!
//! How it works: a call is prepared until its prompt can be sent, and
//! checkpointed; the turn then decides, event by event, from the prompt's answer,
//! the event stream and the daemon's own record, and a driver carries out what it
//! decides. What knows the daemon's API is a dialect below `wire`.
//!
//! ```text
//! connector ─▶ call ─▶ prepare ─▶ drive ◀─effects─ turn (synchronous)
//!                          │        ├── event_stream     ▲
//!                          └────────┴── wire (dialect) ──┘ events
//! ```

mod call;
mod config;
mod connector;
mod drive;
mod event_stream;
mod files;
mod ids;
mod input;
mod link;
mod model;
mod output;
mod permissions;
mod probe;
mod queue;
mod random;
pub mod schema;
pub mod sse;
#[doc(hidden)]
pub mod testing;
mod timing;
mod turn;
mod wire;

pub use config::{AskPolicy, Config, Limits, Probe, SavedRules};
pub use connector::{MANIFEST, OpencodeConnector, OpencodeFactory};
pub use ids::{MessageId, SessionId};
pub use input::{ContinueSession, Describe, RunTask};
pub use model::{ModelError, ModelRef};
pub use output::{CacheTokens, Description, FileChange, Tokens, TurnOutput};
pub use permissions::{Action, Permissions, Rule, WireRule};
pub use timing::Timing;

/// The connector's name.
pub const NAME: &str = "connector-opencode";
