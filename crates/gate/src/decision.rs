//! Decisions: what a person says about a card, and how that is answered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::digest::Digest;
use crate::ids::StepId;
use crate::policy::Actor;
use crate::state::StepState;

/// What a tap says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It may run.
    Approve,
    /// It may run, and so may what follows in its session.
    AllowSession,
    /// It may not.
    Deny,
}

/// How a tap is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Tapped {
    /// This tap approved it.
    Approved,
    /// This tap counts, and more are needed.
    Counted {
        /// How many so far.
        have: u32,
        /// How many it takes.
        need: u32,
    },
    /// This tap denied it.
    Denied,
    /// It was decided before.
    Already {
        /// What became of it.
        state: StepState,
        /// Who decided.
        by: Option<Actor>,
        /// When.
        at: Option<Millis>,
    },
    /// Its time is up.
    TooLate,
    /// What would run is no longer what the card showed.
    Changed {
        /// The digest in force now.
        now: Digest,
    },
    /// This person may not decide it.
    NotAllowed {
        /// Why.
        reason: String,
    },
    /// There is no such card.
    NoSuchCard,
}

/// A tap as a surface reports it.
#[derive(Debug, Clone)]
pub struct Tap {
    /// The step whose card was tapped.
    pub step: StepId,
    /// The digest the card showed: all of it, or its beginning as far as cards show it.
    pub digest: String,
    /// Who tapped, vouched for by the surface.
    pub approver: Actor,
    /// The chat it was tapped in, where the surface has chats; a card is decided in its own.
    pub chat: Option<String>,
    /// What.
    pub decision: Decision,
}
