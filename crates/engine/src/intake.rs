//! Events become runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use connector_gate::clock::Millis;
use connector_ledger::audit::{self, Entry};
use connector_ledger::events::{self, EventRow, NewEvent, ReplyTo};
use connector_ledger::outbox::{self, Parcel};
use connector_ledger::runs::{self, By};
use connector_ledger::{LedgerError, Tx};
use connector_rules::{Action, Event, Reply, Rule, RuleSet};
use connector_surface::Reported;
use serde_json::{Value, json};

use super::inbox::COMPANION;
use super::{BATCH, Engine, limits};

impl Engine {
    pub(super) async fn take_in_events(&self) -> Result<(), LedgerError> {
        let (rules, surfaces) = (self.rules(), self.0.surfaces.clone());
        let engine = self.clone();
        let growing = self
            .0
            .ledger
            // It offers words as answers and notes what it told, besides.
            .write_alone(move |tx| {
                let mut growing: Option<Millis> = None;
                for event in events::unhandled(tx, BATCH)? {
                    let surface = surfaces.get(&event.surface);
                    let until = surface.and_then(|surface| surface.grows_until(reported(&event)));
                    if let Some(until) = until.filter(|until| *until > tx.now) {
                        growing = Some(growing.map_or(until, |first| first.min(until)));
                        continue;
                    }
                    let in_force = (&rules, &engine.0.button_connectors);
                    let fired = fired(in_force, &event, tx.now);
                    for rule in &fired {
                        let held_back = limits::held_back(tx, rule)?;
                        let version = rule.version().as_str();
                        let by = By { rule: rule.name(), version, definition: &rule.source().text };
                        let run = runs::create(tx, &event, by, &engine.followers_of(rule))?;
                        if let (Some(run), Some(reason)) = (run, held_back) {
                            limits::deny(tx, &event, rule, run, &reason)?;
                        }
                    }
                    if fired.is_empty() {
                        let detail = json!({ "event_id": event.id, "rules": rules.rules().len() });
                        let actor = audit::host();
                        let kind = "no_rule_fired".to_owned();
                        audit::append(
                            tx,
                            Entry { at: 0, kind, run: None, index: None, actor, digest: None, detail },
                        )?;
                    }
                    let off = engine.switched_off().words(&event, tx.now);
                    let told = match (surface, lacking_words(in_force, &event, tx.now)) {
                        _ if off.is_some() => off,
                        (Some(surface), Some(command)) if fired.is_empty() => {
                            surface.asks_for_words(reported(&event), &command)
                        }
                        (Some(surface), None) if fired.is_empty() && event.event != "command_received" => {
                            match surface.unanswered(reported(&event)) {
                                Some(line) if is_answered(tx, &event, &line)? => None,
                                line => line,
                            }
                        }
                        _ => None,
                    };
                    if let Some(body) = told {
                        let text = Parcel::Text { run: None, body };
                        outbox::put(tx, &event.surface, &event.chat, &text)?;
                    }
                    events::handled(tx, event.id)?;
                }
                Ok(growing)
            })
            .await?;
        *self.growing() = growing;
        Ok(())
    }

    /// Whether a rule takes what a button under a result says.
    pub fn takes_button(&self, event: &NewEvent) -> bool {
        let (now, event) = (timestamp(self.0.clock.now()), event_of(event));
        taking((&self.rules(), &self.0.button_connectors), &event, now).next().is_some()
    }

    /// Whether this text is a command alone that a rule would take with words after it.
    pub fn lacks_words(&self, connector: &str, payload: &Value) -> Option<String> {
        let rules = self.rules();
        with_words(
            (&rules, &self.0.button_connectors),
            message(connector, payload),
            timestamp(self.0.clock.now()),
        )
    }
}

/// A message, as far as it can be looked at before it is stored.
pub(super) fn message(connector: &str, payload: &Value) -> Event {
    Event {
        id: String::new(),
        connector: connector.to_owned(),
        event: "message_received".to_owned(),
        payload: payload.clone(),
        reply: None,
    }
}

fn lacking_words(rules: Taking<'_>, event: &EventRow, now: Millis) -> Option<String> {
    if !["message_received", "files_received"].contains(&event.event.as_str()) {
        return None;
    }
    with_words(rules, as_event(event), timestamp(now))
}

/// The command that an event is alone, if a rule would fire on it with words after it.
fn with_words(rules: Taking<'_>, mut event: Event, now: jiff::Timestamp) -> Option<String> {
    let text = event.payload.get("text")?.as_str()?.trim().to_owned();
    let command = text.strip_prefix('/').filter(|it| !it.is_empty() && !it.contains(char::is_whitespace))?;
    let more = format!("{text} …");
    if let Some(message) = event.payload.get_mut("message") {
        message["text"] = json!(more);
    }
    event.payload["text"] = json!(more);
    event.payload["args"] = json!("…");
    let would_fire = taking(rules, &event, now).next().is_some();
    would_fire.then(|| command.to_owned())
}

/// An event as its surface is asked about it.
fn reported(event: &EventRow) -> Reported<'_> {
    Reported {
        event: event.id,
        trigger: &event.event,
        chat: &event.chat,
        by: &event.requester,
        payload: &event.payload,
        at: event.received_at,
    }
}

/// Whether a message that fires no rule is answered all the same: as the command it is, or by a line that still waits to be
/// sent, so that many such messages are told it once.
fn is_answered(tx: &Tx<'_>, event: &EventRow, line: &str) -> Result<bool, LedgerError> {
    Ok(runs::any_of_companion(tx, event.id, COMPANION)?
        || outbox::is_to_tell(tx, &event.surface, &event.chat, line)?)
}

fn fired(rules: Taking<'_>, event: &EventRow, now: Millis) -> Vec<Arc<Rule>> {
    taking(rules, &as_event(event), timestamp(now)).cloned().collect()
}

/// What the payload of an event has that a button under a result made, and no message: surfaces write it.
pub const OF_RESULT: &str = "button_of_result";

/// The rules in force, and the connectors that buttons under results may call.
type Taking<'a> = (&'a RuleSet, &'a BTreeSet<String>);

/// The rules that an event fires. A button under a result says what is done with it, so none but rules that call
/// connectors for `buttons` take it: one for messages would hand its command to an agent as words.
fn taking<'a>(
    (rules, buttons): Taking<'a>,
    event: &'a Event,
    now: jiff::Timestamp,
) -> impl Iterator<Item = &'a Arc<Rule>> {
    let is_button = event.payload.get(OF_RESULT).is_some();
    rules.matching(event, now).filter(move |rule| !is_button || calls_only(rule, buttons))
}

/// Whether a rule calls these connectors and no other.
fn calls_only(rule: &Rule, connectors: &BTreeSet<String>) -> bool {
    let calls = |step: &connector_rules::Step| match &step.action {
        Action::RunConnector { connector, .. } => Some(connectors.contains(connector)),
        _ => None,
    };
    let mut called = rule.all_steps().filter_map(calls).peekable();
    called.peek().is_some() && called.all(|is_theirs| is_theirs)
}

/// The event as rules see it.
pub fn as_event(row: &EventRow) -> Event {
    Event {
        id: row.id.to_string(),
        connector: row.connector.clone(),
        event: row.event.clone(),
        payload: row.payload.clone(),
        reply: row.reply.clone().map(as_reply),
    }
}

/// The same of one that is not stored yet.
fn event_of(event: &NewEvent) -> Event {
    Event {
        id: String::new(),
        connector: event.connector.clone(),
        event: event.event.clone(),
        payload: event.payload.clone(),
        reply: event.reply.clone().map(as_reply),
    }
}

fn as_reply(ReplyTo { session_id, run_id, workspace, change }: ReplyTo) -> Reply {
    let (branch, base, commit) = change
        .map(|it| (it.branch, it.base, it.commit))
        .map_or((None, None, None), |(branch, base, commit)| (Some(branch), Some(base), Some(commit)));
    Reply { session_id, run_id, workspace, branch, base, commit }
}

pub(crate) fn timestamp(at: Millis) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use connector_rules::SourceFile;

    use super::*;

    fn rule(name: &str, connector: &str, action: &str, then: &str) -> String {
        format!(
            "[rule]\nname = \"{name}\"\n[trigger]\ntype = \"ConnectorEvent\"\nconnector = \"connector-telegram\"\n\
             event = \"message_received\"\n[[actions]]\ntype = \"RunConnector\"\nconnector = \"{connector}\"\n\
             action = \"{action}\"\n{then}"
        )
    }

    #[test]
    fn a_button_is_taken_by_rules_that_call_its_connectors_alone_and_by_no_others() {
        let then = "[[actions]]\ntype = \"RunConnector\"\nconnector = \"connector-opencode\"\naction = \"continue_session\"\n";
        let files = [
            SourceFile::new("commit.toml", rule("commit", "connector-git", "commit", "")),
            // As one was written when there was no such button.
            SourceFile::new("reply.toml", rule("reply", "connector-opencode", "continue_session", "")),
            SourceFile::new("both.toml", rule("both", "connector-git", "commit", then)),
        ];
        let rules = RuleSet::parse(files).unwrap();
        let names = |payload: Value| -> Vec<String> {
            let (event, now) = (message("connector-telegram", &payload), timestamp(0));
            let buttons = BTreeSet::from(["connector-git".to_owned()]);
            taking((&rules, &buttons), &event, now).map(|rule| rule.name().to_owned()).collect()
        };
        let mut written = names(json!({ "text": "/commit" }));
        written.sort();
        assert_eq!(written, ["both", "commit", "reply"], "a message is for all");
        assert_eq!(names(json!({ "text": "/commit", OF_RESULT: "commit" })), ["commit"]);
    }
}
