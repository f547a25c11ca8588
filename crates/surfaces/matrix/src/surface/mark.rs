//! Marks: what an event of the bot's own asks, as its content says it, and what a reaction or a reply says to it.
//!
//! The mark is in the event itself, whose sender the homeserver vouches for: what is decided is what the event showed,
//! however soon somebody reacts to it, and whatever the host remembers. An event that was taken back has none.

use connector_gate::decision::Decision;
use connector_gate::ids::StepId;
use serde_json::{Value, json};

use crate::id::EventId;
use crate::update::Event;

/// Where the mark is in a content.
pub(crate) const KEY: &str = "connector-host";

/// What an event asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// For a decision about a step whose card shows a digest.
    Card(StepId, String),
    /// For an answer to the ask of this key.
    Ask(String),
}

/// Marks a content.
pub(super) fn marked(mut content: Value, mark: &Mark) -> Value {
    content[KEY] = match mark {
        Mark::Card(step, digest) => json!({ "step": step.to_string(), "digest": digest }),
        Mark::Ask(key) => json!({ "ask": key }),
    };
    content
}

/// What an event asks, and in which thread.
pub(super) fn of(event: &Event) -> Option<(Mark, Option<EventId>)> {
    let mark = event.content.get(KEY)?;
    let text = |key: &str| mark[key].as_str().map(str::to_owned);
    let asks = match text("ask") {
        Some(key) => Mark::Ask(key),
        None => Mark::Card(text("step")?.parse().ok()?, text("digest")?),
    };
    Some((asks, event.thread()))
}

/// What somebody says about an event.
#[derive(Debug, Clone, Copy)]
pub(super) enum Said<'a> {
    /// By a reaction.
    Sign(Decision),
    /// By a reply.
    Words(&'a str),
}

impl<'a> Said<'a> {
    /// What it decides about a card, and the beginning of a digest if it names one.
    pub(super) fn decision(self) -> Option<(Decision, Option<&'a str>)> {
        match self {
            Self::Sign(decision) => Some((decision, None)),
            Self::Words(words) => of_reply(words),
        }
    }
}

/// What a reaction decides. How a sign is drawn, and whose hand it shows, is the same.
pub fn of_reaction(key: &str) -> Option<Decision> {
    let drawn = |it: &char| !matches!(it, '\u{fe0e}' | '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}');
    match key.chars().filter(drawn).collect::<String>().as_str() {
        "✅" | "✔" | "☑" | "👍" => Some(Decision::Approve),
        "❌" | "✖" | "👎" => Some(Decision::Deny),
        _ => None,
    }
}

/// What a reply to a card decides, and the beginning of a digest if it names one.
fn of_reply(text: &str) -> Option<(Decision, Option<&str>)> {
    let mut words = text.split_whitespace();
    let decision = match words.next()?.to_lowercase().as_str() {
        "y" | "yes" => Decision::Approve,
        "n" | "no" => Decision::Deny,
        _ => return None,
    };
    let digest = words.next();
    let is_digest = |it: &str| it.len() >= 8 && it.bytes().all(|byte| byte.is_ascii_hexdigit());
    (digest.is_none_or(is_digest) && words.next().is_none()).then_some((decision, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_means_the_same_however_it_is_drawn() {
        for (key, decision) in [
            ("✅", Some(Decision::Approve)),
            ("✔️", Some(Decision::Approve)),
            ("👍", Some(Decision::Approve)),
            ("👍🏿", Some(Decision::Approve)),
            ("❌", Some(Decision::Deny)),
            ("✖️", Some(Decision::Deny)),
            ("👎🏻", Some(Decision::Deny)),
            ("🎉", None),
            ("✅✅", None),
            ("", None),
            ("y", None),
        ] {
            assert_eq!(of_reaction(key), decision, "{key}");
        }
    }

    #[test]
    fn a_reply_decides_when_it_says_nothing_else() {
        for (text, said) in [
            ("y", Some((Decision::Approve, None))),
            ("  Yes \n", Some((Decision::Approve, None))),
            ("n", Some((Decision::Deny, None))),
            ("y 93839bb3bab5", Some((Decision::Approve, Some("93839bb3bab5")))),
            ("y but not now", None),
            ("y please", None),
            ("yesterday", None),
            ("n 1", None),
            ("", None),
        ] {
            assert_eq!(of_reply(text), said, "{text}");
        }
    }
}
