//! Schedules: when its time comes, a rule's schedule makes an event.
//!
//! The ledger knows up to when each schedule was dealt with. Each pass looks
//! what became due since: the last time, if it is not long past, becomes an
//! event whose id follows from rule and time, so that it is one event however
//! often it is made; every other is reported as missed, and not made up for. A
//! schedule that is new, or written otherwise than before, begins now.
//!
//! In memory is only when to look again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use connector_gate::clock::Millis;
use connector_gate::policy::Actor;
use connector_ledger::audit::{self, Entry};
use connector_ledger::events::{self, NewEvent};
use connector_ledger::outbox::{self, Parcel};
use connector_ledger::{LedgerError, Tx, schedules};
use connector_rules::{RuleSet, SCHEDULE, Schedule, Timestamp};
use connector_surface::MAIN_CHAT;
use connector_surface::log::COMMAND_LINE;
use serde::Deserialize;
use serde_json::json;

use super::Engine;
use super::intake::timestamp;

/// How late a time may be noticed and still count as met, in milliseconds.
const LATE: Millis = 60_000;

/// How many missed times are counted out.
const COUNTED: usize = 1_000;

/// Where the runs of schedules, of webhooks and of changed files report to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleChat {
    /// The surface.
    pub surface: String,
    /// The chat.
    pub chat: String,
}

/// The runs of schedules cannot report there.
#[derive(Debug, thiserror::Error)]
#[error("schedules are to report to the surface `{0}`, which this host does not have")]
pub struct NoSurface(pub String);

impl Default for ScheduleChat {
    fn default() -> Self {
        Self { surface: COMMAND_LINE.to_owned(), chat: MAIN_CHAT.to_owned() }
    }
}

/// When to look at the schedules again.
#[derive(Debug, Default)]
pub(super) struct Timetable {
    pub(super) chat: Mutex<ScheduleChat>,
    /// `None`: now, since the rules are new.
    next: Mutex<Option<Next>>,
    /// How often the rules were new.
    forgotten: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
enum Next {
    At(Millis),
    Never,
}

/// Times of one schedule that became due.
#[derive(Debug, Default)]
struct Due {
    fires: Option<Timestamp>,
    missed: Vec<Timestamp>,
}

impl Timetable {
    /// The rules are new.
    pub(super) fn forget(&self) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn next(&self) -> Option<Next> {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Lets the runs of schedules report to `chat`. Without it they report to the surface `cli`.
    pub fn schedules_report_to(&self, chat: ScheduleChat) -> Result<(), NoSurface> {
        if self.surface(&chat.surface).is_none() {
            return Err(NoSurface(chat.surface));
        }
        *self.0.timetable.chat.lock().unwrap_or_else(PoisonError::into_inner) = chat;
        Ok(())
    }

    /// When the next schedule is due.
    pub(super) fn next_scheduled(&self) -> Option<Millis> {
        match self.0.timetable.next() {
            Some(Next::At(at)) => Some(at),
            Some(Next::Never) | None => None,
        }
    }

    pub(super) async fn fire_schedules(&self) -> Result<(), LedgerError> {
        // The ledger's time, which never runs backwards, as it is in the passes.
        let now = self.0.ledger.read(|tx| Ok(tx.now)).await?;
        let asked = self.0.timetable.forgotten.load(Ordering::SeqCst);
        let anew = match self.0.timetable.next() {
            None => true,
            Some(Next::At(at)) if at <= now => false,
            Some(Next::At(_) | Next::Never) => return Ok(()),
        };
        let rules = self.rules();
        let chat = self.reports_to();
        let next = self.0.ledger.write(move |tx| fire_due(tx, &rules, &chat, anew)).await?;
        // Rules that were replaced meanwhile are looked at in the next pass.
        let mut known = self.0.timetable.next.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.timetable.forgotten.load(Ordering::SeqCst) == asked {
            *known = Some(next.map_or(Next::Never, Next::At));
        }
        drop(known);
        Ok(())
    }
}

/// Deals with what is due, and returns when the next time comes.
fn fire_due(
    tx: &Tx<'_>,
    rules: &RuleSet,
    chat: &ScheduleChat,
    anew: bool,
) -> Result<Option<Millis>, LedgerError> {
    let mut next = None;
    let mut names = Vec::new();
    for (rule, schedule) in rules.schedules() {
        let written = format!("{} {}", schedule.expression(), schedule.timezone());
        if let Some(seen) = schedules::seen(tx, rule.name(), &written)? {
            let due = due(schedule, seen, tx.now);
            if let Some(at) = due.fires {
                events::store(tx, &event(schedule, rule.name(), at, chat))?;
            }
            if !due.missed.is_empty() {
                report(tx, rule.name(), &due.missed, chat)?;
            }
        }
        schedules::mark(tx, rule.name(), &written)?;
        let coming = schedule.next_after(timestamp(tx.now)).map(Timestamp::as_millisecond);
        next = [next, coming].into_iter().flatten().min();
        names.push(rule.name().to_owned());
    }
    if anew {
        schedules::keep_only(tx, &names)?;
    }
    Ok(next)
}

/// The times after `seen` up to `now`: the last fires unless it is long past, the others are missed.
fn due(schedule: &Schedule, seen: Millis, now: Millis) -> Due {
    let mut missed: Vec<_> = schedule.between(timestamp(seen), timestamp(now), COUNTED).collect();
    let recent = |at: &Timestamp| now - at.as_millisecond() <= LATE;
    let fires = missed.pop_if(|last| recent(last));
    Due { fires, missed }
}

fn event(schedule: &Schedule, rule: &str, at: Timestamp, chat: &ScheduleChat) -> NewEvent {
    let event = schedule.event(rule, at);
    NewEvent {
        surface: chat.surface.clone(),
        platform_id: event.id,
        connector: event.connector,
        event: event.event,
        chat: chat.chat.clone(),
        requester: Actor::new(SCHEDULE, rule),
        payload: event.payload,
        reply: None,
    }
}

fn report(tx: &Tx<'_>, rule: &str, missed: &[Timestamp], chat: &ScheduleChat) -> Result<(), LedgerError> {
    let (Some(first), Some(last)) = (missed.first(), missed.last()) else { return Ok(()) };
    let body = match missed.len() {
        1 => format!("the schedule of {rule} was missed at {first}, and is not made up for"),
        COUNTED => {
            format!("the schedule of {rule} was missed very often since {first}, and is not made up for")
        }
        count => {
            format!(
                "the schedule of {rule} was missed {count} times, from {first} to {last}, and is not made up for"
            )
        }
    };
    tracing::warn!(rule, missed = missed.len(), %first, %last, "{body}");
    let detail = json!({ "rule": rule, "missed": missed.len(), "first": first, "last": last });
    let (kind, actor) = ("schedule_missed".to_owned(), audit::host());
    audit::append(tx, Entry { at: 0, kind, run: None, index: None, actor, digest: None, detail })?;
    outbox::put(tx, &chat.surface, &chat.chat, &Parcel::Text { run: None, body })
}

#[cfg(test)]
mod tests {
    use connector_rules::SourceFile;

    use super::*;

    const MINUTE: Millis = 60_000;

    fn times(expression: &str, seen: Millis, now: Millis) -> (Option<Millis>, usize) {
        let text = format!(
            "[rule]\nname = \"r\"\n[trigger]\ntype = \"Cron\"\nexpression = \"{expression}\"\n\
             [[actions]]\ntype = \"Reply\"\ntext = \"x\"\n"
        );
        let rules = RuleSet::parse([SourceFile::new("r.toml", text)]).unwrap();
        let due = due(rules.rules()[0].schedule().unwrap(), seen, now);
        (due.fires.map(Timestamp::as_millisecond), due.missed.len())
    }

    #[test]
    fn the_last_time_fires_if_it_is_not_long_past_and_the_others_are_missed() {
        for (seen, now, fires, missed) in [
            (0, MINUTE - 1, None, 0),
            (0, MINUTE, Some(MINUTE), 0),
            (MINUTE, MINUTE, None, 0),
            (MINUTE, MINUTE + 5, None, 0),
            (0, 10 * MINUTE + 5, Some(10 * MINUTE), 9),
        ] {
            assert_eq!(times("* * * * *", seen, now), (fires, missed), "{seen} {now}");
        }
        let (hour, day) = (60 * MINUTE, 24 * 60 * MINUTE);
        assert_eq!(times("0 3 * * *", 0, 3 * hour + LATE), (Some(3 * hour), 0));
        assert_eq!(times("0 3 * * *", 0, 3 * hour + LATE + 1), (None, 1));
        assert_eq!(times("0 3 * * *", 0, 5 * day), (None, 5));
    }
}
