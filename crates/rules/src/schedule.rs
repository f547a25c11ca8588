//! Cron triggers: when a rule's time comes, as arithmetic.
//!
//! Nothing here waits or reads a clock. The host asks [`Schedule::next_after`] and sleeps; at the
//! time it makes the event with [`Schedule::event`], which matches the rule like any other event.
//! After downtime it asks [`Schedule::between`] what was missed and reports it.

use std::fmt;

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::condition::Zone;
use crate::event::Event;

/// The connector name of events that schedules make; the event's name is the rule's.
pub const SCHEDULE: &str = "schedule";

/// What the payload of a schedule's event holds.
pub(crate) const SCHEDULE_FIELDS: [&str; 3] = ["scheduled_at", "expression", "timezone"];

/// When a rule fires by time.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Minute, hour, day of month, month, day of week: `0 3 * * 1-5`.
    #[schemars(with = "String")]
    pub(crate) expression: Expression,
    /// The time zone of the expression, by its IANA name; UTC without it.
    #[serde(skip_serializing_if = "Zone::is_utc")]
    #[schemars(with = "String", default = "Zone::utc")]
    pub(crate) timezone: Zone,
    /// Whether a run may start while the one before is still under way.
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub(crate) overlap: bool,
}

/// A cron expression of five fields; equal when its text is.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    text: String,
    cron: Cron,
}

impl Expression {
    /// Reads an expression; the error says what is wrong with it.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let cron = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build()
            .parse(text)
            .map_err(|error| reason(&error))?;
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Self { text, cron })
    }
}

/// The library's reason as a fragment, without the name of its part.
fn reason(error: &CronError) -> String {
    let whole = error.to_string();
    let reason = whole.split_once(": ").map_or(&*whole, |(_, reason)| reason);
    reason.trim_end_matches('.').to_lowercase()
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Expression {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl Schedule {
    /// The first time after `after`; `None` when there is none (31 February).
    ///
    /// A local time that a change of clocks skips is made up for right after the gap; one that
    /// happens twice is met once.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let start = after.to_zoned(self.timezone.rules().clone());
        self.expression.cron.find_next_occurrence(&start, false).ok().map(|next| next.timestamp())
    }

    /// The times after `after` up to and with `until`, at most `limit` of them.
    pub fn between(
        &self,
        after: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.next_after(after), |last| self.next_after(*last))
            .take_while(move |time| *time <= until)
            .take(limit)
    }

    /// The event of rule `rule` at its time `at`. The id follows from both, so that the same time
    /// is the same event however often it is made.
    pub fn event(&self, rule: &str, at: Timestamp) -> Event {
        Event {
            id: format!("{SCHEDULE}:{rule}:{at}"),
            connector: SCHEDULE.to_owned(),
            event: rule.to_owned(),
            payload: json!({
                "scheduled_at": at.to_string(),
                "expression": self.expression.to_string(),
                "timezone": self.timezone.to_string(),
            }),
            reply: None,
        }
    }

    /// The expression, as written.
    pub fn expression(&self) -> &str {
        &self.expression.text
    }

    /// The time zone it is read in.
    pub fn timezone(&self) -> &Zone {
        &self.timezone
    }

    /// Whether a run may start while the one before is still under way.
    pub fn overlap(&self) -> bool {
        self.overlap
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_false(value: &bool) -> bool {
    !*value
}
