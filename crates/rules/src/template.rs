//! `${…}` in texts: references with filters, resolved in one pass.
//!
//! A template is parsed once, when its rule is loaded, into text and references. Resolving joins
//! them; what a reference brings in is never looked at again, so `${…}` inside a chat message
//! stays the text that somebody typed. A template that is one reference and nothing else yields
//! the value itself, with its type. A reference without a value is an error, never an empty text.
//! `$${` is a literal `${`.

mod filter;
mod parse;

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value;

pub use filter::Filter;
pub(crate) use parse::{ParseError, ParseErrorKind, parse};

use crate::path::Path;
use crate::scope::{Lookup, Missing};

/// A text with references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Text and references in turn; no two texts are neighbours and none is empty.
    pub(crate) parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Text(String),
    Reference(Reference),
}

/// One `${…}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub(crate) path: Path,
    pub(crate) filters: Vec<Filter>,
}

/// Why a reference has no usable value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// There is nothing at the path.
    #[error("{0}")]
    Missing(Missing),
    /// The value is null, which has no text.
    #[error("`{0}` is null")]
    Null(String),
    /// A list or table stands inside a text.
    #[error("`{path}` is {kind}, which has no text of its own; write `| json`")]
    NotText {
        /// The reference.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// A filter for texts got something else.
    #[error("`{filter}` takes text, and `{path}` is {kind}")]
    Filter {
        /// The filter.
        filter: &'static str,
        /// The reference.
        path: String,
        /// What it is.
        kind: &'static str,
    },
}

impl Template {
    /// The references in it.
    pub(crate) fn references(&self) -> impl Iterator<Item = &Reference> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Reference(reference) => Some(reference),
        })
    }

    /// The references in it, to be changed.
    pub(crate) fn references_mut(&mut self) -> impl Iterator<Item = &mut Reference> {
        self.parts.iter_mut().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Reference(reference) => Some(reference),
        })
    }

    /// This one, `between`, and `other`, as one.
    pub(crate) fn join(self, between: &str, other: Self) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        for part in self.parts.into_iter().chain([Part::Text(between.to_owned())]).chain(other.parts) {
            match (parts.last_mut(), part) {
                (Some(Part::Text(text)), Part::Text(more)) => text.push_str(&more),
                (_, part) => parts.push(part),
            }
        }
        Self { parts }
    }

    /// The text, if there is no reference in it.
    pub(crate) fn as_literal(&self) -> Option<&str> {
        match &self.parts[..] {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether it is one reference and nothing else, so that the value keeps its type.
    pub(crate) fn as_reference(&self) -> Option<&Reference> {
        match &self.parts[..] {
            [Part::Reference(reference)] => Some(reference),
            _ => None,
        }
    }

    pub(crate) fn resolve(&self, lookup: &Lookup<'_>) -> Result<Value, ReferenceError> {
        if let Some(reference) = self.as_reference() {
            return reference.value(lookup).map(Cow::into_owned);
        }
        self.resolve_text(lookup).map(Value::String)
    }

    pub(crate) fn resolve_text(&self, lookup: &Lookup<'_>) -> Result<String, ReferenceError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Reference(reference) => text.push_str(&reference.text(lookup)?),
            }
        }
        Ok(text)
    }
}

impl Reference {
    fn value<'a>(&self, lookup: &Lookup<'a>) -> Result<Cow<'a, Value>, ReferenceError> {
        let mut found = lookup.get(&self.path);
        for filter in &self.filters {
            found = filter.apply(&self.path, found)?;
        }
        found.map_err(ReferenceError::Missing)
    }

    fn text(&self, lookup: &Lookup<'_>) -> Result<String, ReferenceError> {
        let path = || self.path.to_string();
        match &*self.value(lookup)? {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(bool) => Ok(bool.to_string()),
            Value::Null => Err(ReferenceError::Null(path())),
            other => Err(ReferenceError::NotText { path: path(), kind: kind_of(other) }),
        }
    }
}

/// What a value is, in words.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(&text.replace("${", "$${"))?,
                Part::Reference(reference) => write!(f, "{reference}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${{{}", self.path)?;
        for filter in &self.filters {
            write!(f, " | {filter}")?;
        }
        f.write_str("}")
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
