//! The view of a card after a vote or a decision: what became of it.

use super::CardView;

/// A card, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The card.
    pub card: CardView,
    /// What was decided.
    pub decision: CardDecision,
}

/// What was decided about a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CardDecision {
    /// Not enough yet: it waits for more approvals.
    Awaited {
        /// Who approved it, each with the name of their person.
        approved_by: Vec<String>,
        /// How many it takes.
        needed: u32,
    },
    /// It is to run.
    Approved {
        /// Whose approval was the last, with the name of their person, where that is on record.
        by: Option<String>,
    },
}

impl Standing {
    /// The same in words.
    pub fn words(&self) -> String {
        let id = self.card.id;
        match &self.decision {
            CardDecision::Awaited { approved_by, needed } => {
                let (by, have) = (approved_by.join(" and "), approved_by.len());
                format!("{id} approved by {by}; {have} of {needed} approvals")
            }
            CardDecision::Approved { by: Some(by) } => format!("{id} approved by {by}"),
            CardDecision::Approved { by: None } => format!("{id} waits no longer"),
        }
    }
}
