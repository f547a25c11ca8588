//! Asking conditions.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::Time;
use serde::Serialize;
use serde_json::Value;

use super::{Condition, Day, Zone, same};
use crate::path::Path;
use crate::scope::Lookup;
use crate::template::kind_of;

/// How much of a value an explanation shows.
const SHOWN: usize = 200;

/// A condition that did not hold, and what it saw.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// The condition, in words.
    pub condition: String,
    /// What it saw, in words; never longer than a line.
    pub saw: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not met: {}; saw {}", self.condition, self.saw)
    }
}

impl Condition {
    /// Whether it holds.
    pub(crate) fn holds(&self, lookup: &Lookup<'_>) -> bool {
        match self {
            Self::TimeInRange { start, end, timezone } => is_between(lookup.now, *start, *end, timezone),
            Self::DayOfWeek { days, timezone } => {
                let today = lookup.now.to_zoned(timezone.rules().clone()).weekday();
                days.iter().any(|day| day.is(today))
            }
            Self::All { conditions } => conditions.iter().all(|one| one.holds(lookup)),
            Self::Any { conditions } => conditions.iter().any(|one| one.holds(lookup)),
            Self::Not { condition } => !condition.holds(lookup),
            about_a_field => about_a_field
                .field()
                .and_then(|field| lookup.get(field).ok())
                .is_some_and(|value| about_a_field.accepts(&value)),
        }
    }

    /// `None` when it holds, or else the first part of it that does not.
    pub(crate) fn why_not(&self, lookup: &Lookup<'_>) -> Option<Failure> {
        if self.holds(lookup) {
            return None;
        }
        if let Self::All { conditions } = self {
            return conditions.iter().find_map(|one| one.why_not(lookup));
        }
        Some(Failure { condition: self.to_string(), saw: self.saw(lookup) })
    }

    /// Whether a value of its field is as it wants.
    pub(crate) fn accepts(&self, found: &Value) -> bool {
        match self {
            Self::FieldContains { value, .. } => match found {
                Value::String(text) => text.contains(value.as_str()),
                Value::Array(items) => items.iter().any(|item| item == value.as_str()),
                _ => false,
            },
            Self::FieldEquals { value, .. } => same(found, value),
            Self::FieldStartsWith { value, .. } => {
                found.as_str().is_some_and(|text| text.starts_with(value.as_str()))
            }
            Self::FieldMatches { pattern, .. } => found.as_str().is_some_and(|text| pattern.found_in(text)),
            Self::FieldIn { values, .. } => values.iter().any(|value| same(found, value)),
            Self::FieldExists { .. } => !found.is_null(),
            _ => false,
        }
    }

    fn saw(&self, lookup: &Lookup<'_>) -> String {
        match self {
            Self::TimeInRange { timezone, .. } => {
                let now = lookup.now.to_zoned(timezone.rules().clone());
                format!("{} ({timezone})", now.strftime("%H:%M:%S"))
            }
            Self::DayOfWeek { timezone, .. } => {
                let now = lookup.now.to_zoned(timezone.rules().clone());
                format!("{} ({timezone})", Day::from(now.weekday()))
            }
            Self::Any { conditions } if conditions.is_empty() => "an empty list".to_owned(),
            Self::Any { conditions } | Self::All { conditions } => conditions
                .iter()
                .filter_map(|one| one.why_not(lookup))
                .map(|failure| failure.saw)
                .collect::<Vec<_>>()
                .join("; "),
            Self::Not { condition } => condition.saw(lookup),
            about_a_field => about_a_field.field().map(|field| see(field, lookup)).unwrap_or_default(),
        }
    }
}

/// What is at a path, in words.
fn see(field: &Path, lookup: &Lookup<'_>) -> String {
    match lookup.get(field) {
        Ok(value) => shorten(&value),
        Err(missing) => format!("no `{}`", missing.first_missing),
    }
}

/// A value on one line of bounded length.
pub(crate) fn shorten(value: &Value) -> String {
    let text = match value {
        Value::Array(_) | Value::Object(_) => {
            let text = Cow::Owned::<str>(value.to_string());
            return format!("{} {}", kind_of(value), clip(&text));
        }
        scalar => scalar.to_string(),
    };
    clip(&text)
}

fn clip(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn is_between(now: Timestamp, start: Time, end: Time, zone: &Zone) -> bool {
    let time = now.to_zoned(zone.rules().clone()).time();
    if start <= end { start <= time && time < end } else { time >= start || time < end }
}
