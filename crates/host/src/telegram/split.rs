//! Long messages, which Telegram's clients send as several: they become one again.
//!
//! A client splits what is longer than a message may be, and sends the parts at once.
//! It cuts at the end of a paragraph, a line or a word if there is one in the second half,
//! and drops the blanks there; if there is none, it cuts where the message is full. So two messages of
//! one sender are parts of one if the first could be a part, the second follows at once, and both
//! together, with the blanks that may have been dropped between them, do not fit into one.
//! The first waits a little as an event that may still grow; what follows is added to it,
//! and is recorded as taken, so that it does not count when Telegram brings it again.

use connector_engine::commands;
use connector_gate::clock::Millis;
use connector_ledger::LedgerError;
use connector_ledger::events;
use connector_surface::Reported;
use connector_telegram::text::{MESSAGE, head, units};
use connector_telegram::update::Received;
use serde_json::{Value, json};
use unicode_segmentation::UnicodeSegmentation as _;

use super::{NAME, Telegram, actor};

/// The shortest part that another one follows: clients cut in the second half.
const SHORTEST: u64 = MESSAGE as u64 / 2;

/// How many blanks are dropped at a cut at most.
const BLANKS: u64 = 16;

/// How long after a part the next one comes at most, in seconds by Telegram's clock.
const AT_ONCE: u64 = 2;

/// How long a part is waited for.
pub(super) const PATIENCE: Millis = 2_000;

/// How many parts there are at most.
const PARTS: u64 = 64;

/// The trigger of a message that went into the one before it.
pub(super) const CONTINUED: &str = "message_continued";

/// The note of a message that may be the first part of several.
pub(super) fn note(received: &Received) -> Option<Value> {
    part(received.units as u64, 1, received.payload.get("date").and_then(Value::as_u64)?)
}

fn part(units: u64, parts: u64, date: u64) -> Option<Value> {
    (units > SHORTEST && parts < PARTS).then(|| json!({ "units": units, "parts": parts, "date": date }))
}

/// Until when the next part is waited for.
pub(super) fn grows_until(reported: Reported<'_>) -> Option<Millis> {
    let spoken = ["message_received", "command_received"].contains(&reported.trigger);
    let may_grow = spoken && reported.payload.get("split").is_some_and(|split| !split.is_null());
    may_grow.then(|| reported.at + PATIENCE)
}

/// The message `earlier` with its next part, if this is one.
pub(super) fn joined(earlier: &Value, next: &Received) -> Option<Value> {
    let split = earlier.get("split")?;
    let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64);
    let (before, parts) = (number(split, "units")?, number(split, "parts")?);
    let date = number(&next.payload, "date")?;
    let at_once = date.checked_sub(number(split, "date")?).is_some_and(|passed| passed <= AT_ONCE);
    let too_long_for_one = before + next.units as u64 + BLANKS > MESSAGE as u64;
    let answers = |value: &Value| value.get("reply_to_message_id").and_then(Value::as_i64);
    let elsewhere = answers(&next.payload).is_some_and(|to| Some(to) != answers(earlier));
    let text = earlier.get("text")?.as_str()?;
    if !at_once || !too_long_for_one || elsewhere || begins_anew(next) {
        return None;
    }
    let whole = format!("{text}{}{}", between(text, before, &next.text), next.text);
    let mut payload = earlier.clone();
    if let Some(command) = earlier.get("command").and_then(Value::as_str).filter(|it| !it.is_empty()) {
        payload["args"] = json!(whole.get(command.len() + 1..).unwrap_or_default().trim());
    }
    if let Some(message) = payload.get_mut("message") {
        message["text"] = json!(whole);
    }
    payload["text"] = json!(whole);
    payload["split"] = json!(part(next.units as u64, parts + 1, date));
    Some(payload)
}

fn first_cluster(text: &str) -> u64 {
    text.graphemes(true).next().map_or(0, units) as u64
}

/// Whether it is a command of its own. What else begins with a slash may be a part of a text.
fn begins_anew(next: &Received) -> bool {
    next.command.as_deref().is_some_and(|it| commands::is_own(it) || ["fix", "continue"].contains(&it))
}

/// What the client dropped between two parts, of which the first one, with this many units, ends `text`.
///
/// A client may have cut a full part through a word, or at a blank that came next: nobody can know, and
/// the first is likelier. A part that is full but for a character of several units was cut through a
/// word only if it has no blank to cut at.
fn between(text: &str, part: u64, next: &str) -> &'static str {
    let full = MESSAGE as u64;
    if part >= full || text.ends_with(char::is_whitespace) || next.starts_with(char::is_whitespace) {
        return "";
    }
    let skipped = units(text).saturating_sub(usize::try_from(part).unwrap_or(usize::MAX));
    let late = &text[head(text, skipped + MESSAGE / 2).len()..];
    if part + first_cluster(next) > full && !late.contains(char::is_whitespace) {
        return "";
    }
    // It would have cut at a line's end, had there been one.
    if late.contains('\n') { "\n" } else { " " }
}

impl Telegram {
    /// Adds a message to the one before it, if it is the next part of that; whether it is.
    pub(super) async fn continues(&self, received: &Received) -> Result<bool, LedgerError> {
        let event = self.event(received, CONTINUED, None);
        let (next, by) = (received.clone(), actor(received.user));
        let own = received.update_id.to_string();
        let joined = self
            .engine()?
            .ledger()
            .write(move |tx| {
                if events::is_stored(tx, NAME, &event.platform_id)? {
                    return Ok(true);
                }
                // Brought again, it is no part of itself.
                if events::is_stored(tx, NAME, &own)? {
                    return Ok(false);
                }
                let before = events::unhandled_of(tx, NAME, &event.chat, &by)?;
                let grown: Vec<(i64, Value)> =
                    before.iter().filter_map(|row| Some((row.id, joined(&row.payload, &next)?))).collect();
                for (id, payload) in &grown {
                    events::grow(tx, *id, payload)?;
                }
                if !grown.is_empty()
                    && let Some(id) = events::store(tx, &event)?
                {
                    events::handled(tx, id)?;
                }
                Ok(!grown.is_empty())
            })
            .await?;
        if joined {
            self.engine()?.look_again();
        }
        Ok(joined)
    }
}

#[cfg(test)]
mod tests;
