//! What a move writes beside the state, and what must hold for it.
//!
//! The columns and conditions are said here alone: whoever makes a move says it in the words of the gate.

use connector_contract::Consequence;
use connector_gate::clock::Millis;
use connector_gate::digest::Digest;
use connector_gate::people::Person;
use connector_gate::policy::Actor;
use connector_gate::state::StepState;
use rusqlite::types::{Null, Value as Sql};
use serde_json::Value;

use super::PassedBy;
use crate::LedgerError;

/// A precondition of a move, beside the states it is made from. The statement that makes the move holds it too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// The step still has this digest.
    Digest(Digest),
    /// No checkpoint was kept: nothing of an effect can be found again.
    NoCheckpoint,
    /// Its card has expired by then.
    ExpiredBy(Millis),
    /// Its card has not expired by then.
    NotExpired(Millis),
    /// It is not in this state.
    NotIn(StepState),
    /// As many persons approved its digest as it takes.
    Quorum {
        /// The person who asked, by the name under which votes are counted.
        requester: String,
    },
}

/// Of those who may approve, each person counts once.
const ENOUGH_VOTES: &str = "(SELECT count(DISTINCT person) FROM approvals WHERE approvals.run_id = steps.run_id
    AND approvals.idx = steps.idx AND approvals.digest = steps.digest AND decision IN ('approve', 'allow_session')
    AND approver IN (SELECT value FROM json_each(steps.approvers))
    AND NOT (steps.other_approver AND person = ?)) >= max(approvals_needed, 1)";

impl Guard {
    /// The quorum of a step that `requester` asked for.
    pub fn quorum(requester: &Person<'_>) -> Self {
        Self::Quorum { requester: requester.as_str().to_owned() }
    }

    /// The condition, and the value of its one `?`, if it has one.
    pub(super) fn compiled(self) -> (&'static str, Option<Sql>) {
        match self {
            Self::Digest(digest) => ("digest = ?", Some(digest.as_str().to_owned().into())),
            Self::NoCheckpoint => ("checkpoint IS NULL", None),
            Self::ExpiredBy(at) => ("expires_at <= ?", Some(at.into())),
            Self::NotExpired(at) => ("expires_at IS NULL OR expires_at > ?", Some(at.into())),
            Self::NotIn(state) => ("state <> ?", Some(state.as_str().to_owned().into())),
            Self::Quorum { requester } => (ENOUGH_VOTES, Some(requester.into())),
        }
    }
}

/// What else a move writes, beside the state.
#[derive(Debug, Default)]
pub struct Change {
    pub(super) set: Vec<(&'static str, Sql)>,
    pub(super) guards: Vec<Guard>,
    pub(super) actor: Option<Actor>,
    pub(super) detail: Value,
}

impl Change {
    /// Nothing else.
    pub fn none() -> Self {
        Self::default()
    }

    /// A move made by a person.
    pub fn by(actor: &Actor) -> Self {
        Self { actor: Some(actor.clone()), ..Self::default() }
    }

    /// Makes the move only if `guard` holds too.
    #[must_use]
    pub fn only_if(mut self, guard: Guard) -> Self {
        self.guards.push(guard);
        self
    }

    /// What the audit adds.
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }

    /// Why, in words.
    #[must_use]
    pub fn reason(self, reason: impl Into<String>) -> Self {
        self.set("reason", reason.into())
    }

    /// When it was decided.
    #[must_use]
    pub fn decided(self, at: Millis) -> Self {
        self.set("decided_at", at)
    }

    /// Who decided it.
    #[must_use]
    pub fn decided_by(self, actor: &Actor) -> Self {
        self.set("decided_by", actor.as_str().to_owned())
    }

    /// What let it pass, and the allowance if it was one.
    #[must_use]
    pub fn passed_by(self, by: PassedBy, allowance: Option<i64>) -> Self {
        self.set("passed_by", by.as_str().to_owned()).set("allowance", allowance.map_or(Sql::Null, Sql::from))
    }

    /// When the connector was called.
    #[must_use]
    pub fn dispatched(self, at: Millis) -> Self {
        self.set("dispatched_at", at)
    }

    /// The connector was not called after all.
    #[must_use]
    pub fn not_dispatched(self) -> Self {
        self.set("dispatched_at", Null)
    }

    /// Until when it only waits.
    #[must_use]
    pub fn wakes(self, at: Millis) -> Self {
        self.set("wake_at", at)
    }

    /// When it ended.
    #[must_use]
    pub fn ended(self, at: Millis) -> Self {
        self.set("ended_at", at)
    }

    /// What the connector returned.
    #[must_use]
    pub fn output(self, output: &Value) -> Self {
        self.set("output", output.to_string())
    }

    /// The session it ran in.
    #[must_use]
    pub fn session(self, id: impl Into<String>) -> Self {
        self.set("session_id", id.into())
    }

    /// What a failure means.
    pub fn consequence(self, consequence: Consequence) -> Result<Self, LedgerError> {
        Ok(self.set("consequence", serde_json::to_string(&consequence)?))
    }

    /// Writes `value` into `column` too.
    pub(super) fn set(mut self, column: &'static str, value: impl Into<Sql>) -> Self {
        self.set.push((column, value.into()));
        self
    }
}
