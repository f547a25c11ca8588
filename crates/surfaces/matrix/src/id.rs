//! Identifiers of users, rooms and events, and where a conversation takes place.
//!
//! Beyond its sigil and length an id is opaque: rooms of version 12 have no server's name in theirs.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// The longest id, in bytes.
const LONGEST: usize = 255;

/// A text that is no such id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}; it looks like {example}")]
pub struct IdError {
    text: String,
    what: &'static str,
    example: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $fits:expr, $what:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as it is written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                let plain = |it: char| !it.is_whitespace() && !it.is_control();
                let fits: fn(&str) -> bool = $fits;
                if text.len() <= LONGEST && text.chars().all(plain) && fits(&text) {
                    return Ok(Self(text));
                }
                Err(IdError { text: text.chars().take(LONGEST).collect(), what: $what, example: $example })
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.to_owned().try_into()
            }
        }
    };
}

id!(
    /// A user's id.
    UserId, |text| has(text, '@').and_then(|it| it.split_once(':')).is_some_and(|(name, server)| !name.is_empty() && !server.is_empty()),
    "user id of Matrix", "@anna:example.org"
);
id!(
    /// A room's id. A slash in it would make a [`ChatKey`] ambiguous; no server is known that makes one.
    RoomId, |text| has(text, '!').is_some_and(|it| !it.contains('/')),
    "room id of Matrix", "!hash, or !hash:example.org of an older room"
);
id!(
    /// An event's id.
    EventId, |text| has(text, '$').is_some(), "event id of Matrix", "$hash"
);

impl UserId {
    /// The server whose user it is, such as `example.org`, with its port where the id has one.
    pub fn server(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, server)| server)
    }
}

/// What follows the sigil.
fn has(text: &str, sigil: char) -> Option<&str> {
    text.strip_prefix(sigil).filter(|rest| !rest.is_empty())
}

/// A room and, in it, the thread: `!hash` or `!hash/$event`.
///
/// Threads are conversations of their own: sessions, cards and results of one never show in another.
/// Parsing and printing are inverse.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChatKey {
    /// The room.
    pub room: RoomId,
    /// The event that the thread hangs on.
    pub thread: Option<EventId>,
}

impl fmt::Display for ChatKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.thread {
            Some(thread) => write!(f, "{}/{thread}", self.room),
            None => write!(f, "{}", self.room),
        }
    }
}

impl FromStr for ChatKey {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (room, thread) = match text.split_once('/') {
            Some((room, thread)) => (room, Some(thread.parse()?)),
            None => (text, None),
        };
        Ok(Self { room: room.parse()?, thread })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_has_its_sigil_and_a_room_needs_no_server() {
        for good in ["!OGEhHVWSdvArJzumhm:matrix.org", "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM"] {
            assert_eq!(good.parse::<RoomId>().unwrap().as_str(), good);
        }
        for bad in ["", "!", "#room:x", "!a b", "!a/b", "!a\n", &format!("!{}", "a".repeat(255))] {
            assert!(bad.parse::<RoomId>().is_err(), "{bad:?}");
        }
        for good in ["@anna:example.org", "@a:[::1]:8448", "@_irc_b:x"] {
            assert_eq!(good.parse::<UserId>().unwrap().as_str(), good);
        }
        for bad in ["@anna", "@:x", "@anna:", "anna:x", "matrix:@anna:x"] {
            assert!(bad.parse::<UserId>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_a_chat_are_inverse(
            room in "![a-zA-Z0-9_-]{1,40}(:[a-z.]{1,20})?", thread in proptest::option::of("\\$[a-zA-Z0-9_/+:.-]{1,40}"),
        ) {
            let key = ChatKey { room: room.parse().unwrap(), thread: thread.map(|it| it.parse().unwrap()) };
            prop_assert_eq!(key.to_string().parse(), Ok(key));
        }
    }
}
