//! The life of a step, as a table.
//!
//! ```text
//! resolved ─▶ waiting ─▶ approved ─▶ dispatched ─▶ succeeded | failed | cancelled | unknown
//!     │          │  ▲        │                                                  │
//!     │          │  └────────┘ what would run changed                           ▼
//!     │          ├─▶ waiting: persons changed                  succeeded | failed | cancelled
//!     │          └─▶ denied | expired | cancelled
//!     │                        (dispatched ─▶ approved: the host died before anything began)
//!     └─▶ approved (policy) | denied (policy) | skipped (`when`) | cancelled (merged)
//! ```
//!
//! A move that the table does not have cannot be made: the ledger turns
//! [`Move::sources`] into the `WHERE` of the one statement that makes it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Its input is known; nobody has been asked.
    Resolved,
    /// A card is out, or about to be.
    Waiting,
    /// It may run.
    Approved,
    /// Someone said no, or policy did.
    Denied,
    /// Nobody said yes in time.
    Expired,
    /// The connector was called, or is just about to be.
    Dispatched,
    /// It did what it was asked.
    Succeeded,
    /// It ran and failed, or could not be started.
    Failed,
    /// It was stopped.
    Cancelled,
    /// Nobody knows what became of it.
    Unknown,
    /// Its `when` did not hold.
    Skipped,
}

/// What can happen to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Move {
    /// A card is put out.
    Ask,
    /// Policy lets it pass.
    Pass,
    /// Enough approvers said yes.
    Approve,
    /// An approver said no, or policy did.
    Deny,
    /// Its time is up.
    Expire,
    /// What would run, or who decides, is no longer what was shown: ask again.
    Rebind,
    /// The connector is about to be called.
    Dispatch,
    /// The host died before anything began: it may be looked at again.
    Return,
    /// It did what it was asked.
    Succeed,
    /// It failed.
    Fail,
    /// It was stopped.
    Cancel,
    /// Nobody can say what became of it.
    LoseTrack,
    /// Its `when` did not hold.
    Skip,
    /// The same request waits already.
    Merge,
}

impl StepState {
    /// Every state, in the order of a step's life.
    pub const ALL: [Self; 11] = [
        Self::Resolved,
        Self::Waiting,
        Self::Approved,
        Self::Denied,
        Self::Expired,
        Self::Dispatched,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Unknown,
        Self::Skipped,
    ];

    /// The word the ledger stores and people read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resolved => "resolved",
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Dispatched => "dispatched",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
            Self::Skipped => "skipped",
        }
    }

    /// The inverse of [`as_str`](Self::as_str).
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether something is still going to happen by itself.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Resolved | Self::Waiting | Self::Approved | Self::Dispatched)
    }

    /// Where `made` leads from here; `None` if it cannot be made.
    pub const fn after(self, made: Move) -> Option<Self> {
        use StepState as S;
        match (self, made) {
            (S::Resolved, Move::Ask) | (S::Waiting | S::Approved, Move::Rebind) => Some(S::Waiting),
            (S::Resolved, Move::Pass) | (S::Waiting, Move::Approve) | (S::Dispatched, Move::Return) => {
                Some(S::Approved)
            }
            (S::Resolved | S::Waiting, Move::Deny) => Some(S::Denied),
            (S::Waiting, Move::Expire) => Some(S::Expired),
            (S::Approved, Move::Dispatch) => Some(S::Dispatched),
            (S::Dispatched | S::Unknown, Move::Succeed) => Some(S::Succeeded),
            // A step can fail before it is dispatched: its connector is gone.
            (S::Resolved | S::Approved | S::Dispatched | S::Unknown, Move::Fail) => Some(S::Failed),
            (S::Resolved | S::Waiting | S::Approved | S::Dispatched | S::Unknown, Move::Cancel) => {
                Some(S::Cancelled)
            }
            (S::Dispatched, Move::LoseTrack) => Some(S::Unknown),
            (S::Resolved, Move::Skip) => Some(S::Skipped),
            (S::Resolved, Move::Merge) => Some(S::Cancelled),
            _ => None,
        }
    }
}

impl Move {
    /// Every move.
    pub const ALL: [Self; 14] = [
        Self::Ask,
        Self::Pass,
        Self::Approve,
        Self::Deny,
        Self::Expire,
        Self::Rebind,
        Self::Dispatch,
        Self::Return,
        Self::Succeed,
        Self::Fail,
        Self::Cancel,
        Self::LoseTrack,
        Self::Skip,
        Self::Merge,
    ];

    /// The states this move can be made from.
    pub fn sources(self) -> impl Iterator<Item = StepState> {
        StepState::ALL.into_iter().filter(move |state| state.after(self).is_some())
    }

    /// Where it leads; every move leads to one state.
    pub const fn target(self) -> StepState {
        match self {
            Self::Ask | Self::Rebind => StepState::Waiting,
            Self::Pass | Self::Approve | Self::Return => StepState::Approved,
            Self::Deny => StepState::Denied,
            Self::Expire => StepState::Expired,
            Self::Dispatch => StepState::Dispatched,
            Self::Succeed => StepState::Succeeded,
            Self::Fail => StepState::Failed,
            Self::Cancel | Self::Merge => StepState::Cancelled,
            Self::LoseTrack => StepState::Unknown,
            Self::Skip => StepState::Skipped,
        }
    }

    /// The word of the audit.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ask => "asked",
            Self::Pass => "passed",
            Self::Approve => "approved",
            Self::Deny => "denied",
            Self::Expire => "expired",
            Self::Rebind => "changed",
            Self::Dispatch => "dispatched",
            Self::Return => "returned",
            Self::Succeed => "succeeded",
            Self::Fail => "failed",
            Self::Cancel => "cancelled",
            Self::LoseTrack => "lost",
            Self::Skip => "skipped",
            Self::Merge => "merged",
        }
    }
}

impl fmt::Display for StepState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_and_the_targets_agree() {
        for made in Move::ALL {
            assert!(made.sources().count() > 0, "{made:?} can never be made");
            for state in made.sources() {
                assert_eq!(state.after(made), Some(made.target()), "{state:?} {made:?}");
            }
        }
    }

    #[test]
    fn nothing_is_dispatched_that_was_not_approved() {
        assert_eq!(Move::Dispatch.sources().collect::<Vec<_>>(), [StepState::Approved]);
        assert_eq!(Move::Approve.sources().collect::<Vec<_>>(), [StepState::Waiting]);
        assert_eq!(Move::Pass.sources().collect::<Vec<_>>(), [StepState::Resolved]);
    }

    #[test]
    fn what_ended_stays_ended() {
        for state in [
            StepState::Denied,
            StepState::Expired,
            StepState::Succeeded,
            StepState::Failed,
            StepState::Cancelled,
            StepState::Skipped,
        ] {
            for made in Move::ALL {
                assert_eq!(state.after(made), None, "{state:?} {made:?}");
            }
        }
    }

    #[test]
    fn words_and_states_are_inverse() {
        for state in StepState::ALL {
            assert_eq!(StepState::parse(state.as_str()), Some(state));
        }
        assert_eq!(StepState::parse("done"), None);
    }
}
