//! Conditions: what must hold for a rule to fire or a step to run.
//!
//! A condition is data; asking it is a pure function of what [`crate::scope`] can look up. The
//! same evaluation answers yes or no on the hot path ([`Condition::holds`]) and explains a no
//! ([`Condition::why_not`]). Patterns are compiled when the rule is loaded and take time linear in
//! the text.

mod eval;
mod value;

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

pub use eval::Failure;
pub(crate) use value::parse_time;
pub(crate) use value::same;
pub use value::{Day, Pattern, Zone};

use crate::path::Path;

/// How deep conditions may nest.
pub(crate) const MAX_DEPTH: usize = 8;

/// Something that holds or does not.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum Condition {
    /// The field is a text with `value` in it, or a list that has `value` as an item.
    FieldContains {
        /// Where to look.
        #[schemars(with = "String")]
        field: Path,
        /// What to look for.
        value: String,
    },
    /// The field equals `value`; `1` and `1.0` are equal.
    FieldEquals {
        /// Where to look.
        #[schemars(with = "String")]
        field: Path,
        /// What to compare with.
        value: Value,
    },
    /// The field is a text that begins with `value`.
    FieldStartsWith {
        /// Where to look.
        #[schemars(with = "String")]
        field: Path,
        /// The beginning.
        value: String,
    },
    /// The field is a text in which the pattern is found.
    FieldMatches {
        /// Where to look.
        #[schemars(with = "String")]
        field: Path,
        /// A regular expression; anchor it with `^` and `$` to mean the whole text.
        #[schemars(with = "String")]
        pattern: Pattern,
    },
    /// The field equals one of `values`.
    FieldIn {
        /// Where to look.
        #[schemars(with = "String")]
        field: Path,
        /// What to compare with.
        values: Vec<Value>,
    },
    /// The field is there and not null.
    FieldExists {
        /// Where to look.
        #[schemars(with = "String")]
        field: Path,
    },
    /// It is between two times of day; the end does not belong to it. A start after the end means
    /// over midnight.
    TimeInRange {
        /// `HH:MM`.
        #[schemars(with = "String")]
        #[serde(serialize_with = "value::serialize_time")]
        start: jiff::civil::Time,
        /// `HH:MM`.
        #[schemars(with = "String")]
        #[serde(serialize_with = "value::serialize_time")]
        end: jiff::civil::Time,
        /// A time zone of the IANA database; UTC without it.
        #[schemars(with = "String", default = "Zone::utc")]
        #[serde(skip_serializing_if = "Zone::is_utc")]
        timezone: Zone,
    },
    /// It is one of these days of the week.
    DayOfWeek {
        /// The days.
        days: Vec<Day>,
        /// A time zone of the IANA database; UTC without it.
        #[schemars(with = "String", default = "Zone::utc")]
        #[serde(skip_serializing_if = "Zone::is_utc")]
        timezone: Zone,
    },
    /// Every one of `conditions` holds.
    All {
        /// The conditions.
        conditions: Vec<Condition>,
    },
    /// At least one of `conditions` holds.
    Any {
        /// The conditions.
        conditions: Vec<Condition>,
    },
    /// `condition` does not hold.
    Not {
        /// The condition.
        condition: Box<Condition>,
    },
}

impl Condition {
    /// The name of its type, as rules write it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::FieldContains { .. } => "FieldContains",
            Self::FieldEquals { .. } => "FieldEquals",
            Self::FieldStartsWith { .. } => "FieldStartsWith",
            Self::FieldMatches { .. } => "FieldMatches",
            Self::FieldIn { .. } => "FieldIn",
            Self::FieldExists { .. } => "FieldExists",
            Self::TimeInRange { .. } => "TimeInRange",
            Self::DayOfWeek { .. } => "DayOfWeek",
            Self::All { .. } => "All",
            Self::Any { .. } => "Any",
            Self::Not { .. } => "Not",
        }
    }

    /// The field it looks at, if it looks at one itself.
    pub(crate) fn field(&self) -> Option<&Path> {
        match self {
            Self::FieldContains { field, .. }
            | Self::FieldEquals { field, .. }
            | Self::FieldStartsWith { field, .. }
            | Self::FieldMatches { field, .. }
            | Self::FieldIn { field, .. }
            | Self::FieldExists { field } => Some(field),
            _ => None,
        }
    }

    /// What asking it costs, roughly: cheap ones are asked first.
    pub(crate) fn cost(&self) -> u32 {
        match self {
            Self::FieldEquals { .. } | Self::FieldExists { .. } => 1,
            Self::FieldIn { .. } | Self::FieldStartsWith { .. } => 2,
            Self::FieldContains { .. } => 4,
            Self::TimeInRange { .. } | Self::DayOfWeek { .. } => 8,
            Self::FieldMatches { .. } => 16,
            Self::Not { condition } => condition.cost(),
            Self::All { conditions } | Self::Any { conditions } => conditions.iter().map(Self::cost).sum(),
        }
    }
}

/// As a person would say it: `trigger.text contains "/fix"`.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, word: &str, items: &[Condition]| {
            write!(f, "{word} of (")?;
            for (index, item) in items.iter().enumerate() {
                let comma = if index == 0 { "" } else { "; " };
                write!(f, "{comma}{item}")?;
            }
            f.write_str(")")
        };
        match self {
            Self::FieldContains { field, value } => write!(f, "{field} contains {value:?}"),
            Self::FieldEquals { field, value } => write!(f, "{field} equals {value}"),
            Self::FieldStartsWith { field, value } => write!(f, "{field} starts with {value:?}"),
            Self::FieldMatches { field, pattern } => write!(f, "{field} matches /{pattern}/"),
            Self::FieldIn { field, values } => {
                write!(f, "{field} is one of {}", Value::Array(values.clone()))
            }
            Self::FieldExists { field } => write!(f, "{field} exists"),
            Self::TimeInRange { start, end, timezone } => {
                write!(f, "the time is from {start} to {end} ({timezone})")
            }
            Self::DayOfWeek { days, timezone } => {
                f.write_str("the day is ")?;
                for (index, day) in days.iter().enumerate() {
                    let comma = if index == 0 { "" } else { " or " };
                    write!(f, "{comma}{day}")?;
                }
                write!(f, " ({timezone})")
            }
            Self::All { conditions } => list(f, "all", conditions),
            Self::Any { conditions } => list(f, "any", conditions),
            Self::Not { condition } => write!(f, "not ({condition})"),
        }
    }
}
