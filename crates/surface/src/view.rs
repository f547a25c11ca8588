//! Views: what a card, a result or a running step says, as data.
//!
//! What is said is decided once, by whoever makes a view of a row, so that no surface leaves out or adds a fact by accident. A
//! surface draws it: signs, layout, units of text, buttons, and what it has no room for. Everything is clean, as
//! [`crate::text::visible`] makes it, but for what says that it is [verbatim](Verbatim).

mod card;
mod doing;
mod result;
mod standing;

pub use card::{CardView, Field};
pub use doing::{Detail, Doing, Retry, line, todo};
pub use result::{Branch, ChangedFile, Changes, ResultView};
pub use standing::{CardDecision, Standing};

/// Text as somebody wrote it, which is not clean: for [`Prose::parse`](crate::prose::Prose::parse),
/// which makes it so, or for a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verbatim(String);

impl From<&str> for Verbatim {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Verbatim {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests;
