//! Words that every surface says alike.

use connector_gate::decision::Tapped;
use connector_gate::ids::StepId;

/// What a message is answered with that no rule fires on.
pub const NO_RULE: &str = "no rule answers that; try /fix and what is to be done, or /help";

/// What is said, once, to whoever writes too much at once.
pub const TOO_MUCH: &str =
    "that is too much at once: this and what follows is not taken in; try again in a minute";

/// What the agent is told whose ask is turned down without words.
pub const REFUSED: &str = "the person in charge refused this; do without it";

/// What a command is answered with that takes words and came alone.
pub fn wants_words(command: &str) -> String {
    format!("what is to be done? write it after the command, such as: /{command} the failing test")
}

/// How a decision is answered.
pub fn decided(step: StepId, answer: &Tapped) -> String {
    match answer {
        Tapped::Approved => format!("{step} is approved"),
        Tapped::Denied => format!("{step} is refused"),
        Tapped::Counted { have, need } => format!("{step}: {have} of {need} approvals"),
        Tapped::Already { state, by: Some(by), .. } => format!("{step} is {state} already, decided by {by}"),
        Tapped::Already { state, by: None, .. } => format!("{step} is {state} already"),
        Tapped::TooLate => format!("{step} has expired"),
        Tapped::Changed { .. } => format!("{step} has changed since that card; look at the new one"),
        Tapped::NotAllowed { reason } => format!("{step}: {reason}"),
        Tapped::NoSuchCard => format!("there is no {step}"),
    }
}
