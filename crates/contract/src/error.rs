//! What can go wrong with a call, split by consequence.

use std::error::Error;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::OutboundError;

/// What a caller must assume after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consequence {
    /// Nothing was started; calling again is safe once the cause is gone.
    NothingStarted,
    /// It ran and ended in failure; effects may remain.
    Failed,
    /// It was stopped before its end; effects may remain.
    Stopped,
    /// Nobody knows; find out before calling again.
    Unknown,
}

/// Where the work can be found again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The session it ran in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The message that started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
}

/// Why a turn was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// Someone cancelled it here.
    Cancelled,
    /// Someone aborted it at the daemon.
    AbortedElsewhere,
    /// Its deadline passed.
    Deadline,
    /// It made no progress for too long.
    NoProgress,
}

/// An error of a connector. Each variant says what it means for the caller;
/// [`consequence`](Self::consequence) says it as a value.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// Nothing started: no such action.
    #[error("no action `{action}` in {connector}")]
    UnknownAction {
        /// The connector that was asked.
        connector: String,
        /// The action that was asked for.
        action: String,
    },
    /// Nothing started: the input is not acceptable.
    #[error("invalid input: {reason}")]
    InvalidInput {
        /// Names the field and what it takes.
        reason: String,
    },
    /// Nothing started: the configuration is not acceptable.
    #[error("invalid configuration: {reason}")]
    InvalidConfig {
        /// Names the key and what it takes.
        reason: String,
    },
    /// Nothing started: the plugin tried what it was not granted.
    #[error("capability denied: {reason}")]
    CapabilityDenied {
        /// Names the origin and the grant.
        reason: String,
    },
    /// Nothing started: the other side refuses our credentials.
    #[error("unauthorized: {reason}")]
    Unauthorized {
        /// Names the origin and what to set.
        reason: String,
    },
    /// Nothing started: the other side cannot be reached, or is not what it should be.
    #[error("unavailable: {reason}")]
    Unavailable {
        /// Names the origin and what to do.
        reason: String,
        /// What the network said.
        #[source]
        source: Option<OutboundError>,
    },
    /// Nothing started: the other side's version is not supported.
    #[error("unsupported version: {reason}")]
    UnsupportedVersion {
        /// Names the version found and what is supported.
        reason: String,
    },
    /// Nothing started: the other side refused the request as such.
    #[error("refused: {reason}")]
    Refused {
        /// The other side's words.
        reason: String,
    },
    /// Nothing started: it was cancelled first.
    #[error("cancelled: {reason}")]
    Cancelled {
        /// How far it came.
        reason: String,
    },
    /// It ran and failed; effects may remain.
    #[error("failed: {reason}")]
    Failed {
        /// The other side's true reason.
        reason: String,
        /// Where it ran.
        reference: Reference,
    },
    /// It was stopped; effects may remain.
    #[error("stopped ({}): {reason}", .cause.as_str())]
    Stopped {
        /// Why it was stopped.
        cause: StopCause,
        /// What is known, in particular whether the stop was confirmed.
        reason: String,
        /// Where it ran.
        reference: Reference,
    },
    /// Nobody knows whether it ran, runs, or ended.
    #[error("outcome unknown: {reason}")]
    OutcomeUnknown {
        /// What was seen last.
        reason: String,
        /// Where to look.
        reference: Reference,
    },
}

impl StopCause {
    /// A few words for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::AbortedElsewhere => "aborted at the daemon",
            Self::Deadline => "deadline passed",
            Self::NoProgress => "no progress",
        }
    }
}

impl ConnectorError {
    /// What the caller must assume.
    pub fn consequence(&self) -> Consequence {
        match self {
            Self::UnknownAction { .. }
            | Self::InvalidInput { .. }
            | Self::InvalidConfig { .. }
            | Self::CapabilityDenied { .. }
            | Self::Unauthorized { .. }
            | Self::Unavailable { .. }
            | Self::UnsupportedVersion { .. }
            | Self::Refused { .. }
            | Self::Cancelled { .. } => Consequence::NothingStarted,
            Self::Failed { .. } => Consequence::Failed,
            Self::Stopped { .. } => Consequence::Stopped,
            Self::OutcomeUnknown { .. } => Consequence::Unknown,
        }
    }

    /// Where the work can be found again, if it reached the other side.
    pub fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Failed { reference, .. }
            | Self::Stopped { reference, .. }
            | Self::OutcomeUnknown { reference, .. } => Some(reference),
            _ => None,
        }
    }
}

/// Prints an error and its sources, outermost first, joined by `: `.
///
/// The one place that does: no `Display` here prints its own source.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
