//! What buttons carry: at most 64 bytes that say which card and which choice.
//!
//! A card's button carries the card's own token (128 random bits) and the head
//! of the digest it shows; an ask's carries a word that is new with each start
//! of the host, with which goes what was chosen so far. Printing and parsing are
//! inverse; whatever does not parse is no button of ours.

use connector_gate::decision::Decision;
use connector_surface::view::{CardView, ResultView};
use connector_telegram::frankenstein::types::{InlineKeyboardButton, InlineKeyboardMarkup};

/// How much of the digest a button carries, in hexadecimal digits.
const DIGEST: usize = 16;

/// What a tap says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pressed {
    /// A decision about the card with this token, which showed this digest.
    Decide { decision: Decision, token: String, digest: String },
    /// Stop the step of the card with this token.
    Abort { token: String },
    /// Go on waiting for the next try of the step of the card with this token.
    Wait { token: String },
    /// Do this with what the step of the card with this token left on a branch.
    After { what: After, token: String },
    /// Whether the words of this event are the answer that the agent waits for.
    Offer { word: String, event: i64, yes: bool },
    /// Something about the ask with this number of the host's life `word`.
    Ask { word: String, number: u64, choice: Choice },
}

/// What becomes of what a task left on a branch. Each is the command that can be written in answer to a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Apply,
    Commit,
    Push,
    Discard,
}

impl After {
    const ALL: [Self; 4] = [Self::Apply, Self::Commit, Self::Push, Self::Discard];

    /// The command, without its slash.
    pub(super) fn command(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Commit => "commit",
            Self::Push => "push",
            Self::Discard => "discard",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|after| after.command() == word)
    }
}

/// A choice about an ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// Allow it this once.
    Once,
    /// Allow it and alike for the session.
    Always,
    /// Neither.
    Reject,
    /// An option of a question; both counted from 0.
    Option { question: usize, option: usize },
    /// No more options for this question.
    Done { question: usize },
}

impl Pressed {
    pub(super) fn print(&self) -> String {
        match self {
            Self::Decide { decision: Decision::Approve, token, digest } => format!("a:{token}:{digest}"),
            Self::Decide { decision: Decision::AllowSession, token, digest } => format!("s:{token}:{digest}"),
            Self::Decide { decision: Decision::Deny, token, digest } => format!("d:{token}:{digest}"),
            Self::Abort { token } => format!("x:{token}"),
            Self::Wait { token } => format!("w:{token}"),
            Self::After { what, token } => format!("r:{}:{token}", what.command()),
            Self::Offer { word, event, yes } => {
                format!("o:{word}:{event}:{}", if *yes { "yes" } else { "no" })
            }
            Self::Ask { word, number, choice } => {
                let choice = match choice {
                    Choice::Once => "once".to_owned(),
                    Choice::Always => "always".to_owned(),
                    Choice::Reject => "reject".to_owned(),
                    Choice::Option { question, option } => format!("{question}.{option}"),
                    Choice::Done { question } => format!("{question}.done"),
                };
                format!("k:{word}:{number}:{choice}")
            }
        }
    }

    pub(super) fn parse(data: &str) -> Option<Self> {
        let parts: Vec<&str> = data.split(':').collect();
        let decide = |decision, token: &str, digest: &str| {
            (!digest.is_empty()).then(|| Self::Decide {
                decision,
                token: token.to_owned(),
                digest: digest.to_owned(),
            })
        };
        match parts.as_slice() {
            ["a", token, digest] => decide(Decision::Approve, token, digest),
            ["s", token, digest] => decide(Decision::AllowSession, token, digest),
            ["d", token, digest] => decide(Decision::Deny, token, digest),
            ["x", token] => Some(Self::Abort { token: (*token).to_owned() }),
            ["r", what, token] => Some(Self::After { what: After::parse(what)?, token: (*token).to_owned() }),
            ["w", token] => Some(Self::Wait { token: (*token).to_owned() }),
            ["o", word, event, yes @ ("yes" | "no")] => {
                Some(Self::Offer { word: (*word).to_owned(), event: event.parse().ok()?, yes: *yes == "yes" })
            }
            ["k", word, number, choice] => {
                let (word, number) = ((*word).to_owned(), number.parse().ok()?);
                Some(Self::Ask { word, number, choice: Choice::parse(choice)? })
            }
            _ => None,
        }
    }
}

impl Choice {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "once" => Self::Once,
            "always" => Self::Always,
            "reject" => Self::Reject,
            _ => {
                let (question, option) = text.split_once('.')?;
                let question = question.parse().ok()?;
                match option {
                    "done" => Self::Done { question },
                    option => Self::Option { question, option: option.parse().ok()? },
                }
            }
        })
    }
}

/// The buttons of a card that waits.
pub(super) fn of_card(card: &CardView) -> InlineKeyboardMarkup {
    let digest = card.digest.as_str();
    let press = |decision| Pressed::Decide {
        decision,
        token: card.token.clone(),
        digest: digest.get(..DIGEST).unwrap_or(digest).to_owned(),
    };
    rows(vec![
        vec![("✅ Approve", press(Decision::Approve)), ("❌ Deny", press(Decision::Deny))],
        vec![("✅ Allow for this session", press(Decision::AllowSession))],
    ])
}

/// The button of a step that runs.
pub(super) fn of_running(token: &str) -> InlineKeyboardMarkup {
    rows(vec![vec![("⏹ Abort", Pressed::Abort { token: token.to_owned() })]])
}

/// The buttons of a step whose model's provider is asked again after a while.
pub(super) fn of_retrying(token: &str) -> InlineKeyboardMarkup {
    let token = token.to_owned();
    let wait = ("⏳ Wait", Pressed::Wait { token: token.clone() });
    rows(vec![vec![wait, ("⏹ Stop", Pressed::Abort { token })]])
}

/// The buttons of a result: what can be done with what it left on a branch, if it did.
pub(super) fn of_result(result: &ResultView) -> InlineKeyboardMarkup {
    if !result.branch.as_ref().is_some_and(|branch| branch.has_choices) {
        return none();
    }
    let press = |label: &'static str, what| (label, Pressed::After { what, token: result.token.clone() });
    rows(vec![
        vec![press("📥 Apply", After::Apply), press("✔ Commit", After::Commit)],
        vec![press("📤 Push", After::Push), press("🗑 Discard…", After::Discard)],
    ])
}

/// Buttons in rows.
pub(super) fn rows<T: Into<String>>(rows: Vec<Vec<(T, Pressed)>>) -> InlineKeyboardMarkup {
    let button = |(label, pressed): (T, Pressed)| {
        InlineKeyboardButton::builder().text(label.into()).callback_data(pressed.print()).build()
    };
    let keyboard = rows.into_iter().map(|row| row.into_iter().map(button).collect()).collect();
    InlineKeyboardMarkup::builder().inline_keyboard(keyboard).build()
}

/// No buttons.
pub(super) fn none() -> InlineKeyboardMarkup {
    InlineKeyboardMarkup::builder().inline_keyboard(Vec::new()).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use connector_telegram::text::CALLBACK;

    #[test]
    fn printing_and_parsing_are_inverse_and_everything_fits() {
        let (token, digest) = ("a".repeat(26), "f".repeat(DIGEST));
        let ask = |choice| Pressed::Ask { word: "w".repeat(8), number: u64::MAX, choice };
        for pressed in [
            Pressed::Decide { decision: Decision::Approve, token: token.clone(), digest: digest.clone() },
            Pressed::Decide { decision: Decision::Deny, token: token.clone(), digest },
            Pressed::Decide {
                decision: Decision::AllowSession,
                token: token.clone(),
                digest: "f".repeat(DIGEST),
            },
            Pressed::Abort { token: token.clone() },
            Pressed::Wait { token: token.clone() },
            Pressed::After { what: After::Apply, token: token.clone() },
            Pressed::After { what: After::Discard, token },
            Pressed::Offer { word: "w".repeat(8), event: i64::MAX, yes: true },
            Pressed::Offer { word: "w".repeat(8), event: 1, yes: false },
            ask(Choice::Once),
            ask(Choice::Always),
            ask(Choice::Reject),
            ask(Choice::Option { question: 99, option: 999 }),
            ask(Choice::Done { question: 99 }),
        ] {
            let data = pressed.print();
            assert!(data.len() <= CALLBACK, "{data}");
            assert_eq!(Pressed::parse(&data), Some(pressed), "{data}");
        }
    }

    #[test]
    fn what_is_no_button_of_ours_is_nothing() {
        for data in [
            "",
            "a",
            "a:b",
            "a:b:",
            "x",
            "k:w:1",
            "r:apply",
            "r:fix:b",
            "k:w:x:once",
            "k:w:1:maybe",
            "k:w:1:0.x",
            "z:1:2",
            "o:w:1:maybe",
        ] {
            assert_eq!(Pressed::parse(data), None, "{data}");
        }
    }
}
