//! Telegram, as a connector and as the ground a surface stands on.
//!
//! What Telegram sends is read by [`update`], a pure function from one raw
//! update to what it means here: a message of somebody who is allowed, a tap on
//! a button, or nothing. [`poll`] and [`webhook`] bring the updates in; the
//! caller says when one is dealt with, and only then is it acknowledged. What
//! goes out is a [`text::Styled`] text with entities, never markup to be parsed,
//! so that a prompt cannot format, link or mention anything.
//!
//! Types and methods of the Bot API are those of `frankenstein`; the transport
//! is the contract's `OutboundHttp`, to the one origin of `api_base`. The bot's
//! token is part of every path and of nothing else: no error, log line or
//! `Debug` output here can contain it.
//!
//! This crate never decides who may do what: it says who acted, and whether the
//! configuration lets their updates in at all.

pub mod api;
pub mod chat;
pub mod config;
mod connector;
pub mod poll;
pub mod text;
pub mod token;
pub mod update;
pub mod webhook;

pub use api::{Api, ApiError};
pub use chat::ChatKey;
pub use config::{Config, Settings, UpdateMode};
pub use connector::{MANIFEST, TelegramConnector, TelegramFactory};
pub use frankenstein;
pub use token::Token;

/// The connector's name.
pub const NAME: &str = "connector-telegram";
