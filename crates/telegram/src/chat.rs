//! Where a conversation takes place: a chat, or one topic of a forum.

use std::fmt;
use std::str::FromStr;

/// A chat and, in a forum, the topic: `12345`, `-100123`, or `-100123/7`.
///
/// Topics are conversations of their own: sessions, cards and results of one
/// never show in another. Parsing and printing are inverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChatKey {
    /// Telegram's id: positive for a person, negative for a group.
    pub id: i64,
    /// The topic, in a forum.
    pub topic: Option<i32>,
}

/// A text that names no chat.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no chat; write its number, or number/topic")]
pub struct ChatKeyError(String);

impl ChatKey {
    /// Whether it is a conversation with one person.
    pub fn is_private(&self) -> bool {
        self.id > 0
    }
}

impl fmt::Display for ChatKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.topic {
            Some(topic) => write!(f, "{}/{topic}", self.id),
            None => write!(f, "{}", self.id),
        }
    }
}

impl FromStr for ChatKey {
    type Err = ChatKeyError;

    fn from_str(text: &str) -> Result<Self, ChatKeyError> {
        let wrong = || ChatKeyError(text.to_owned());
        let (id, topic) = match text.split_once('/') {
            Some((id, topic)) => (id, Some(topic.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        Ok(Self { id: id.parse().map_err(|_| wrong())?, topic })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printing_and_parsing_are_inverse() {
        for (id, topic) in [(5, None), (-100_123, None), (-100_123, Some(7)), (i64::MIN, Some(i32::MAX))] {
            let key = ChatKey { id, topic };
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        for bad in ["", "x", "1/", "/1", "1/2/3"] {
            assert!(bad.parse::<ChatKey>().is_err(), "{bad}");
        }
    }
}
