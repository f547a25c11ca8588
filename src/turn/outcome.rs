//! How a turn ended, before it is put into the contract's words.

use connector_contract::StopCause;

use crate::wire::{Failure, Message};

/// How a turn ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TurnOutcome {
    /// The agent said its last word.
    Completed(Box<Message>),
    /// The turn ended after a tool and without a last word.
    EndedEarly { last: Box<Message>, why: Early },
    /// It ran and failed.
    Failed(Failure),
    /// It was stopped.
    Stopped {
        cause: StopCause,
        /// Whether the daemon was seen to have stopped.
        confirmed: bool,
        /// Whether the prompt was sent at all.
        began: bool,
        /// What the provider last complained of.
        note: Option<String>,
    },
    /// Nobody knows.
    Unknown { reason: String },
    /// Nothing ran.
    NotStarted(NotStarted),
}

/// What ended a turn before its last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Early {
    /// A permission request was refused.
    Refused,
    /// A question was not answered.
    Declined,
    /// Nothing that is known.
    Unsaid,
}

/// Why nothing ran.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NotStarted {
    Unauthorized,
    Refused(Failure),
    /// The daemon answered the prompt with this status and no words, and has nothing of it.
    Unexplained(u16),
    Unavailable(String),
}
