//! The values that conditions hold, each validated when it is made.

use std::fmt;
use std::sync::LazyLock;

use jiff::civil::{Time, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// The time zones that come with the program, so that a rule means the same on every machine.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// How large a compiled pattern may be.
const PATTERN_LIMIT: usize = 1 << 20;

/// A compiled regular expression; equal when its text is.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    pub(crate) fn new(text: &str) -> Result<Self, regex::Error> {
        RegexBuilder::new(text).size_limit(PATTERN_LIMIT).build().map(Self)
    }

    pub(crate) fn found_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

/// A time zone by its IANA name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// The zone of that name; `None` when there is none.
    pub fn named(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("utc") {
            return Some(Self::utc());
        }
        let zone = ZONES.get(name).ok()?;
        let name = zone.iana_name()?.to_owned();
        Some(Self { name, zone })
    }

    /// Universal time.
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }

    pub(crate) fn is_utc(&self) -> bool {
        self.name == "UTC"
    }

    /// Its rules.
    pub fn rules(&self) -> &TimeZone {
        &self.zone
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    /// Sunday; Springtale's 0.
    Sunday,
    /// Monday; Springtale's 1.
    Monday,
    /// Tuesday.
    Tuesday,
    /// Wednesday.
    Wednesday,
    /// Thursday.
    Thursday,
    /// Friday.
    Friday,
    /// Saturday; Springtale's 6.
    Saturday,
}

impl Day {
    const ALL: [(Self, &'static str, Weekday); 7] = [
        (Self::Sunday, "sunday", Weekday::Sunday),
        (Self::Monday, "monday", Weekday::Monday),
        (Self::Tuesday, "tuesday", Weekday::Tuesday),
        (Self::Wednesday, "wednesday", Weekday::Wednesday),
        (Self::Thursday, "thursday", Weekday::Thursday),
        (Self::Friday, "friday", Weekday::Friday),
        (Self::Saturday, "saturday", Weekday::Saturday),
    ];

    /// The day of that name (`monday`, `mon`).
    pub(crate) fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        Self::ALL.into_iter().find(|(_, full, _)| *full == name || full[..3] == name).map(|(day, _, _)| day)
    }

    /// The day of that number, Sunday being 0.
    pub(crate) fn numbered(number: i64) -> Option<Self> {
        let index = usize::try_from(number).ok()?;
        Self::ALL.get(index).map(|(day, _, _)| *day)
    }

    pub(crate) fn is(self, weekday: Weekday) -> bool {
        Self::ALL[self as usize].2 == weekday
    }
}

impl From<Weekday> for Day {
    fn from(weekday: Weekday) -> Self {
        match weekday {
            Weekday::Sunday => Self::Sunday,
            Weekday::Monday => Self::Monday,
            Weekday::Tuesday => Self::Tuesday,
            Weekday::Wednesday => Self::Wednesday,
            Weekday::Thursday => Self::Thursday,
            Weekday::Friday => Self::Friday,
            Weekday::Saturday => Self::Saturday,
        }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL[*self as usize].1)
    }
}

/// Reads `HH:MM` or `HH:MM:SS`.
pub(crate) fn parse_time(text: &str) -> Option<Time> {
    let well_formed = matches!(text.len(), 5 | 8)
        && text.bytes().enumerate().all(|(at, byte)| match at {
            2 | 5 => byte == b':',
            _ => byte.is_ascii_digit(),
        });
    well_formed.then(|| text.parse().ok()).flatten()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
pub(super) fn serialize_time<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    let format = if time.second() == 0 { "%H:%M" } else { "%H:%M:%S" };
    serializer.collect_str(&time.strftime(format))
}

/// Whether two values are the same to a rule: as JSON, but `1` equals `1.0`.
pub(crate) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || (left.is_f64() || right.is_f64()) && left.as_f64() == right.as_f64()
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| same(l, r))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, value)| right.get(key).is_some_and(|other| same(value, other)))
        }
        _ => left == right,
    }
}
