//! Prose: what an agent wrote, as blocks of styled words that any surface can show.
//!
//! Agents write Markdown. [`Prose::parse`] reads it into blocks whose text is clean already: a
//! heading, a paragraph or an item of a list is [`Words`], code and tables are blocks of their own.
//! Code alone is the agent's, character by character: it may become a file, and whoever shows it on a
//! screen cleans it first.
//! Whatever is no Markdown, or tries to be more than text, such as HTML, stays text. A link shows
//! where it leads: what its words say cannot be another place. How a style looks, and where a text
//! is cut, is for the surface to say; nothing of a surface is here.

mod definition;
mod link;
mod read;
mod table;

pub use table::layout;

/// Styled text, block by block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prose {
    /// The blocks, in order.
    pub blocks: Vec<Block>,
}

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// How deep it is in lists.
    pub indent: usize,
    /// Whether it quotes somebody.
    pub quoted: bool,
    /// Whether it follows the block before it without an empty line.
    pub tight: bool,
    /// What it is.
    pub kind: Kind,
}

/// What a block is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A paragraph, or an item of a list.
    Words {
        /// What stands before it, such as a bullet.
        lead: String,
        /// The words.
        runs: Vec<Run>,
    },
    /// Code, to be shown as it is.
    Code {
        /// Its language, if it says so.
        language: Option<String>,
        /// The code as it was written, without a line break at its end. Not clean.
        text: String,
    },
    /// A table: its rows, the first of which names the columns.
    Table(Vec<Vec<String>>),
    /// A line across.
    Rule,
}

/// Words of one look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// The words; they may have line breaks.
    pub text: String,
    /// How they look.
    pub look: Look,
    /// Where they lead: an address of the web.
    pub link: Option<String>,
}

/// How words look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a style of its own")]
pub struct Look {
    /// In bold.
    pub bold: bool,
    /// In italics.
    pub italic: bool,
    /// Struck out.
    pub struck: bool,
    /// As code.
    pub code: bool,
}

impl Prose {
    /// Reads Markdown. Never fails: what is none is text.
    pub fn parse(markdown: &str) -> Self {
        read::read(markdown)
    }
}

#[cfg(test)]
mod tests;
