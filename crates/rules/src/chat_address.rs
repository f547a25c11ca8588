//! Address of a chat: the surface that it is on, and that surface's own name of it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest address.
const LONGEST: usize = 300;

/// A chat, as configuration writes it: `telegram:-100123`, `console:main`.
///
/// The first colon ends the surface; the rest is that surface's, colons included.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = r"^[a-z0-9_-]+:\S+$"))]
pub struct ChatAddress {
    text: String,
    /// Where the colon is.
    colon: usize,
}

impl ChatAddress {
    /// Reads an address. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        let parts = text.split_once(':').filter(|(surface, chat)| {
            let fine = !surface.is_empty() && surface.bytes().all(letter);
            let blank = |one: char| one.is_whitespace() || one.is_control();
            fine && !chat.is_empty() && !chat.contains(blank) && text.len() <= LONGEST
        });
        match parts {
            Some((surface, _)) => Ok(Self { text: text.to_owned(), colon: surface.len() }),
            None => Err(format!(
                "{text:?} is no chat: write its surface, a colon and what that calls it, as in `telegram:-100123`"
            )),
        }
    }

    /// The surface.
    pub fn surface(&self) -> &str {
        &self.text[..self.colon]
    }

    /// What the surface calls the chat.
    pub fn chat(&self) -> &str {
        &self.text[self.colon + 1..]
    }

    /// As configuration writes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl TryFrom<String> for ChatAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<ChatAddress> for String {
    fn from(address: ChatAddress) -> Self {
        address.text
    }
}

impl fmt::Display for ChatAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_colon_ends_the_surface() {
        for (text, surface, chat) in [
            ("telegram:-100123", "telegram", "-100123"),
            ("telegram:-100123/7", "telegram", "-100123/7"),
            ("matrix:!room:server.org", "matrix", "!room:server.org"),
            ("console:main", "console", "main"),
        ] {
            let address = ChatAddress::parse(text).unwrap();
            assert_eq!((address.surface(), address.chat(), address.as_str()), (surface, chat, text));
        }
    }

    #[test]
    fn what_is_no_address_says_how_one_is_written() {
        let long = format!("telegram:{}", "1".repeat(LONGEST));
        for text in [
            "",
            ":",
            "telegram",
            "telegram:",
            ":-100",
            "Telegram:1",
            "a b:1",
            "telegram:1 2",
            "telegram:1\n",
            "é:1",
            &long,
        ] {
            let why = ChatAddress::parse(text).unwrap_err();
            assert!(why.contains("telegram:-100123"), "{text:?}: {why}");
        }
    }
}
