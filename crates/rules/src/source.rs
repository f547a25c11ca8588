//! Rule files as text, and places in them.

use std::ops::Range;

use serde::Serialize;

/// A rule file that somebody else has read: its name and its text.
///
/// The name is shown in diagnostics and is not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// The name to show, usually a path.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl SourceFile {
    /// A file of the given name and text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// The line and column of a byte offset; an offset past the end is the end.
    pub fn position(&self, offset: usize) -> Position {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }

    /// The line (without its end) in which a byte offset lies.
    pub fn line_at(&self, offset: usize) -> &str {
        let Position { line, .. } = self.position(offset);
        self.text.lines().nth(line - 1).unwrap_or_default()
    }
}

/// A byte range of a file.
pub(crate) type Span = Range<usize>;

/// A place in a file, both counted from 1; columns count characters, not bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}
