//! A connector as an MCP server, and an MCP server as a connector.
//!
//! [`Server`] offers any [`Connector`](connector_contract::Connector) over an
//! async reader and writer, or over HTTP on this machine, to any MCP host: actions become tools, progress becomes
//! progress notifications, asks become elicitations, errors become tool results
//! that say what to assume. [`McpConnector`] is the way back: a process that
//! speaks MCP is a `Connector` to its host, which cannot tell it from one in
//! process.
//!
//! How it works: the official SDK (`rmcp`) speaks the protocol. Below it lies one
//! [pipe](mod@pipe) of our own, which bounds lines, rates and rubbish, keeps the
//! order of progress, and carries the [extension](extension): the few messages
//! that a connector needs and MCP has not, namely its configuration with its
//! secrets, checkpoints, and a stop whose outcome still comes back. What goes
//! that way never enters the SDK, whose debug output would print it.
//!
//! What it never does: start or confine a process, choose what is granted, restart
//! what ended. It is given two halves of a pipe, and says when they are at an end.

mod client;
pub mod extension;
mod forms;
mod pipe;
mod problem;
mod server;
mod tools;
mod words;

pub use client::{ConnectError, ConnectOptions, Extended, McpConnector, Patience};
pub use pipe::{End, Limits};
pub use problem::Problem;
pub use server::{
    BearerToken, LongCalls, PATH as HTTP_PATH, Presented, Presenter, Route, ServeError, Server, TokenError,
    loopback,
};
pub use words::Words;

/// What both sides speak: every revision that begins with `initialize`. Later ones
/// have no requests from server to client, and so no way to ask while a turn runs.
const NEWEST_PROTOCOL: rmcp::model::ProtocolVersion = rmcp::model::ProtocolVersion::V_2025_11_25;
