//! Reading templates, with the place of every reference.

use std::ops::Range;

use super::{Filter, Part, Reference, Template};
use crate::path::{Path, PathError};

/// Why a text is no template, and which bytes of it are to blame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParseError {
    pub(crate) kind: ParseErrorKind,
    pub(crate) range: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseErrorKind {
    #[error("`${{` is not closed")]
    Unclosed,
    #[error("{0}")]
    Path(#[from] PathError),
    #[error("unknown filter `{0}`")]
    Filter(String),
    #[error("the filter `{0}` takes one text in quotes")]
    Argument(&'static str),
    #[error("the filter `{0}` takes nothing in brackets")]
    NoArgument(&'static str),
    #[error("`{0}` cannot follow here")]
    Unexpected(char),
}

/// Reads a template; beside it the byte range of each reference, in their order.
pub(crate) fn parse(text: &str) -> Result<(Template, Vec<Range<usize>>), ParseError> {
    let mut parts = Vec::new();
    let mut ranges = Vec::new();
    let mut literal = String::new();
    let mut at = 0;
    while let Some(dollar) = text[at..].find("${").map(|found| at + found) {
        // `$${` is an escaped `${`: the first dollar goes, the rest is text.
        if text[at..dollar].ends_with('$') {
            literal.push_str(&text[at..dollar - 1]);
            literal.push_str("${");
            at = dollar + 2;
            continue;
        }
        literal.push_str(&text[at..dollar]);
        let mut cursor = Cursor { text, at: dollar + 2, start: dollar };
        let reference = cursor.reference()?;
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal)));
        }
        parts.push(Part::Reference(reference));
        ranges.push(dollar..cursor.at);
        at = cursor.at;
    }
    literal.push_str(&text[at..]);
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok((Template { parts }, ranges))
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
    /// Where the reference being read starts.
    start: usize,
}

impl Cursor<'_> {
    /// What follows `${`, up to and with the `}`.
    fn reference(&mut self) -> Result<Reference, ParseError> {
        self.blanks();
        if self.peek().is_none() {
            return Err(self.unclosed());
        }
        let (path, taken) = Path::parse_prefix(self.rest()).map_err(|error| self.error(error))?;
        self.at += taken;
        let mut filters = Vec::new();
        loop {
            self.blanks();
            match self.peek() {
                None => return Err(self.unclosed()),
                Some('}') => {
                    self.at += 1;
                    return Ok(Reference { path, filters });
                }
                Some('|') => {
                    self.at += 1;
                    self.blanks();
                    filters.push(self.filter()?);
                }
                Some(other) => return Err(self.error(ParseErrorKind::Unexpected(other))),
            }
        }
    }

    fn filter(&mut self) -> Result<Filter, ParseError> {
        let length =
            self.rest().find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest().len());
        let name = self.rest()[..length].to_owned();
        let Some(known) = Filter::NAMES.into_iter().find(|known| *known == name) else {
            return Err(match self.peek() {
                None => self.unclosed(),
                Some(_) => self.error(ParseErrorKind::Filter(name)),
            });
        };
        self.at += length;
        let argument = self.argument(known)?;
        match (known, argument) {
            ("strip_prefix", Some(text)) => Ok(Filter::StripPrefix(text)),
            ("default", Some(text)) => Ok(Filter::Default(text)),
            ("trim", None) => Ok(Filter::Trim),
            ("json", None) => Ok(Filter::Json),
            (_, None) => Err(self.error(ParseErrorKind::Argument(known))),
            (_, Some(_)) => Err(self.error(ParseErrorKind::NoArgument(known))),
        }
    }

    /// `("text")` or `('text')`, if it follows.
    fn argument(&mut self, filter: &'static str) -> Result<Option<String>, ParseError> {
        if self.peek() != Some('(') {
            return Ok(None);
        }
        self.at += 1;
        self.blanks();
        let Some(quote @ ('"' | '\'')) = self.peek() else {
            return Err(self.error(ParseErrorKind::Argument(filter)));
        };
        self.at += 1;
        let text = self.quoted(quote)?;
        self.blanks();
        if self.peek() != Some(')') {
            return Err(self.error(ParseErrorKind::Argument(filter)));
        }
        self.at += 1;
        Ok(Some(text))
    }

    fn quoted(&mut self, quote: char) -> Result<String, ParseError> {
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.at += c.len_utf8();
            match c {
                c if c == quote => return Ok(text),
                '\\' => {
                    let Some(escaped) = self.peek() else { break };
                    self.at += escaped.len_utf8();
                    match escaped {
                        'n' => text.push('\n'),
                        't' => text.push('\t'),
                        '\\' | '"' | '\'' => text.push(escaped),
                        other => {
                            text.push('\\');
                            text.push(other);
                        }
                    }
                }
                other => text.push(other),
            }
        }
        Err(self.unclosed())
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn unclosed(&self) -> ParseError {
        ParseError { kind: ParseErrorKind::Unclosed, range: self.start..self.text.len() }
    }

    /// An error that covers the reference up to its end, or up to here.
    fn error(&self, kind: impl Into<ParseErrorKind>) -> ParseError {
        let end = self.rest().find('}').map_or(self.text.len(), |brace| self.at + brace + 1);
        ParseError { kind: kind.into(), range: self.start..end }
    }
}
