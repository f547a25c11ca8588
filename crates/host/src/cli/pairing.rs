//! Pairing: how the person at the terminal is found in a chat, whatever chat it is.
//!
//! A code goes from the terminal to the chat by hand, so that whoever says it there is who reads it here. Then a first
//! card shows that a decision comes back, and the configuration is written, last of all: what failed before it keeps
//! nobody from beginning again.

use std::time::Duration;

use connector_contract::chain;

use super::setup::say;
use crate::exit::Failure;

/// How long somebody has to bring the code to the chat.
pub(super) const PATIENCE: Duration = Duration::from_mins(5);

/// How long somebody has to decide the first card. It is only a try.
pub(super) const TAP: Duration = Duration::from_mins(1);

/// How many characters the code has: 40 random bits.
const LENGTH: usize = 8;

/// What is shown here and said there, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Code(String);

impl Code {
    /// Another one each time.
    pub(super) fn new() -> Result<Self, Failure> {
        let mut code = connector_engine::unique()?;
        code.truncate(LENGTH);
        Ok(Self(code))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a message is the code, and nothing else: one of many guesses is none.
    pub(super) fn is(&self, message: &str) -> bool {
        message.trim().eq_ignore_ascii_case(&self.0)
    }
}

/// How a card is decided in a chat, in words.
pub(super) struct Deciding {
    /// What somebody does with it, such as `tap`.
    pub(super) noun: &'static str,
    /// What somebody is to do with it, such as `tap its button`.
    pub(super) order: &'static str,
    /// How a task is asked for, such as `/fix the failing test`.
    pub(super) command: &'static str,
}

impl Deciding {
    /// The text of the first card.
    pub(super) fn card(&self) -> String {
        format!(
            "⏸ This is what a card looks like. A real one shows, word for word, what would run; nothing runs before \
             the {} of somebody who may approve. Nothing runs after this one either: {}.",
            self.noun, self.order
        )
    }
}

/// Bot of a chat, and somebody who is to be found out.
pub(super) trait Meeting {
    /// Who it is.
    type Person;
    /// The first card, on the screen.
    type Card;
    /// How cards are decided here.
    const DECIDING: Deciding;

    /// Waits for the code; who said it.
    async fn person(&mut self) -> Result<Self::Person, Failure>;
    /// Who somebody is, in words.
    fn words(person: &Self::Person) -> String;
    /// Sends a first card.
    async fn card(&mut self, person: &Self::Person) -> Result<Self::Card, Failure>;
    /// Waits a while for the card to be decided; whether it was.
    async fn tap(&mut self, person: &Self::Person, card: &Self::Card) -> Result<bool, Failure>;
    /// The card becomes its result.
    async fn end(&mut self, card: &Self::Card, text: &str) -> Result<(), Box<dyn std::error::Error>>;
}

/// Finds out who it is, shows them a card, and writes with `write` what lets them in.
pub(super) async fn pair<M: Meeting>(
    meeting: &mut M,
    write: impl FnOnce(&M::Person) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let person = meeting.person().await?;
    let (who, deciding) = (M::words(&person), M::DECIDING);
    say(&format!("that was {who}"))?;
    let card = meeting.card(&person).await?;
    say(&format!("sent you a card; {}", deciding.order))?;
    let noun = deciding.noun;
    say(&if meeting.tap(&person, &card).await? {
        format!("the {noun} came")
    } else {
        format!("no {noun} came within a minute; it is not needed")
    })?;
    write(&person)?;
    let text = format!(
        "✅ {who}: host.toml lets you write, and approve. Start the host, then write: {}",
        deciding.command
    );
    if let Err(error) = meeting.end(&card, &text).await {
        say(&format!("the card was not changed, which does not matter: {}", chain(&*error)))?;
    }
    Ok(())
}

/// That nobody brought the code in time.
pub(super) fn nobody() -> Failure {
    Failure::failed("nobody wrote the code to the bot in five minutes; try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_code_or_it_is_not() {
        let code = Code("k3x7q2mv".to_owned());
        for (message, is) in [
            ("k3x7q2mv", true),
            (" K3X7Q2MV\n", true),
            ("k3x7q2mv k3x7q2mw", false),
            ("k3x7q2m", false),
            ("my code is k3x7q2mv", false),
            ("", false),
        ] {
            assert_eq!(code.is(message), is, "{message:?}");
        }
        assert_eq!(Code::new().unwrap().as_str().len(), LENGTH);
        assert_ne!(Code::new().unwrap(), Code::new().unwrap());
    }
}
