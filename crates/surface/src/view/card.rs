//! The view of a card: exactly what will run, for somebody to decide about.

use connector_gate::digest::Digest;
use connector_gate::ids::StepId;

/// A step that waits for a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardView {
    /// The step.
    pub id: StepId,
    /// Its rule.
    pub rule: String,
    /// What an approval is bound to.
    pub digest: Digest,
    /// The card's own secret, for surfaces whose buttons carry one.
    pub token: String,
    /// Whether this very card was delivered before. Otherwise somebody is asked anew.
    pub is_delivered: bool,
    /// What it says, in order, each on one line.
    pub fields: Vec<Field>,
    /// What the agent is told to do; it may be long, and have line breaks.
    pub prompt: Option<String>,
    /// All of the target and the input, for reading where a card has to be cut.
    pub whole: String,
}

/// A line of a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// Why somebody is asked again.
    Again(String),
    /// Who asked, and in which chat: there it need not be said.
    AskedBy {
        /// The account, with the name of its person.
        by: String,
        /// The chat.
        chat: String,
    },
    /// Anything else.
    Named {
        /// What it is.
        name: String,
        /// What is said of it.
        value: String,
    },
}

impl CardView {
    /// Why somebody is asked again, if it is so.
    pub fn again(&self) -> Option<&str> {
        self.fields
            .iter()
            .find_map(|field| if let Field::Again(why) = field { Some(why.as_str()) } else { None })
    }
}
