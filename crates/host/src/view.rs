//! Views: what a card, a result or a running step says, as data.
//!
//! What is said is decided here once, from a row alone, so that no surface leaves out or adds a fact
//! by accident. A surface draws a view: signs, layout, units of text, buttons, and what it has no room
//! for. Everything is clean, as [`crate::text::visible`] makes it, but for what says that it is
//! [verbatim](Verbatim). Nothing but this reads the keys of a step's input, target and output for a
//! surface.

mod card;
mod doing;
mod figures;
mod refused;
mod result;

use serde_json::Value;

pub use card::{CardView, Field, prompt_line};
pub(crate) use doing::todo;
pub use doing::{Detail, Doing, Retry, line};
pub use result::{Branch, ChangedFile, Changes, ResultView};

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

/// A value as people read it: a text without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests;
