//! Filters: the little that chat rules need done to a value.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use super::{ReferenceError, kind_of};
use crate::path::Path;
use crate::scope::Missing;

/// What `| …` does to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// `strip_prefix("/fix")`: without that beginning, if it is there.
    StripPrefix(String),
    /// `trim`: without blanks at both ends.
    Trim,
    /// `default("…")`: this text where there is no value, null or an empty text.
    Default(String),
    /// `json`: the value as JSON text.
    Json,
}

/// A value on its way through the filters; a missing one may still meet a `default`.
type Found<'a> = Result<Cow<'a, Value>, Missing>;

impl Filter {
    /// The names, for messages.
    pub(crate) const NAMES: [&'static str; 4] = ["strip_prefix", "trim", "default", "json"];

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::StripPrefix(_) => "strip_prefix",
            Self::Trim => "trim",
            Self::Default(_) => "default",
            Self::Json => "json",
        }
    }

    pub(super) fn apply<'a>(&self, path: &Path, found: Found<'a>) -> Result<Found<'a>, ReferenceError> {
        if let Self::Default(text) = self {
            return Ok(Ok(found
                .ok()
                .filter(|value| !is_empty(value))
                .unwrap_or(Cow::Owned(Value::String(text.clone())))));
        }
        let value = match found {
            Ok(value) => value,
            missing @ Err(_) => return Ok(missing),
        };
        if matches!(self, Self::Json) {
            return Ok(Ok(Cow::Owned(Value::String(value.to_string()))));
        }
        let Value::String(text) = &*value else {
            if value.is_null() {
                return Ok(Ok(value));
            }
            return Err(ReferenceError::Filter {
                filter: self.name(),
                path: path.to_string(),
                kind: kind_of(&value),
            });
        };
        let text = match self {
            Self::StripPrefix(prefix) => text.strip_prefix(prefix.as_str()).unwrap_or(text),
            _ => text.trim(),
        };
        Ok(Ok(Cow::Owned(Value::String(text.to_owned()))))
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(str::is_empty)
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::StripPrefix(text) | Self::Default(text) => {
                f.write_str("(\"")?;
                for c in text.chars() {
                    match c {
                        '"' => f.write_str("\\\"")?,
                        '\\' => f.write_str("\\\\")?,
                        '\n' => f.write_str("\\n")?,
                        '\t' => f.write_str("\\t")?,
                        other => write!(f, "{other}")?,
                    }
                }
                f.write_str("\")")
            }
            Self::Trim | Self::Json => Ok(()),
        }
    }
}
