//! The view of a card: exactly what will run, for somebody to decide about.

use std::collections::BTreeMap;

use connector_contract::facts::PROMPT;
use connector_gate::clock::Millis;
use connector_gate::digest::TOLD;
use connector_ledger::steps::StepRow;
use connector_surface::attachments;
use connector_surface::text::{one_line, visible};
use connector_surface::view::{CardView, Field};
use serde_json::Value;

use super::plain;
use crate::own_model;
use crate::powers;
use crate::told;

/// The keys of a target's settings that have a field of their own, with what is said where they are
/// not there.
const DIRECTORY: (&str, &str) = ("directory", "as the daemon was started");
const AGENT: (&str, &str) = ("agent", "the daemon's default");

/// The card of a step, as it is at `now`.
pub fn card(row: &StepRow, now: Millis) -> CardView {
    let input = entries(&row.input);
    let prompt = input.iter().find(|entry| entry.key == PROMPT);
    CardView {
        id: row.id,
        rule: one_line(&row.rule),
        digest: row.digest.clone(),
        token: row.token.clone(),
        is_delivered: row.delivered_at.is_some(),
        fields: fields(row, &input, now),
        prompt: prompt.map(|entry| visible(&entry.texts.concat())),
        whole: whole(row, &input),
    }
}

fn named(name: &str, value: &str) -> Field {
    Field::Named { name: one_line(name), value: one_line(value) }
}

/// What an input has under one key.
struct Entry<'a> {
    key: &'a str,
    /// What a field calls it.
    name: &'a str,
    /// One text, or a line for each file.
    texts: Vec<String>,
}

fn entries(input: &Value) -> Vec<Entry<'_>> {
    let all = input.as_object().into_iter().flatten();
    all.map(|(key, value)| match attachments::described(key, value) {
        Some(texts) => Entry { key, name: "file", texts },
        None => Entry { key, name: key, texts: vec![plain(value)] },
    })
    .collect()
}

fn fields(row: &StepRow, input: &[Entry<'_>], now: Millis) -> Vec<Field> {
    let by = one_line(&row.people.named(&row.requester));
    let version = row.rule_version.get(..12).unwrap_or(&row.rule_version);
    let mut fields: Vec<Field> = row.reason.iter().map(|why| Field::Again(one_line(why))).collect();
    fields.extend([
        named("rule", &format!("{} ({version})", row.rule)),
        Field::AskedBy { by, chat: one_line(&row.chat) },
        named("runs", &format!("{} · {}", row.connector, row.action)),
        named("at", row.target.origin.as_deref().unwrap_or("nowhere in particular")),
    ]);
    let of_agent = input.iter().any(|entry| entry.key == PROMPT);
    fields.extend(terms(&row.target.settings, of_agent));
    for Entry { name, texts, .. } in input.iter().filter(|entry| entry.key != PROMPT) {
        fields.extend(texts.iter().map(|text| named(name, text)));
    }
    fields.push(named("digest", row.digest.short()));
    fields.push(named("expires", &expiry(row, now)));
    if row.approvals_needed > 1 {
        fields.push(named("approvals", &format!("{} are needed", row.approvals_needed)));
    }
    fields
}

/// Where and on what terms a step works: the settings of a target. What is not set of an agent's is said too; where
/// nobody is prompted there is no agent.
fn terms(settings: &BTreeMap<String, Value>, of_agent: bool) -> Vec<Field> {
    if !of_agent {
        return settings.iter().map(|(key, value)| named(key, &plain(value))).collect();
    }
    let given = |(key, default): (&str, &str)| {
        named(key, &settings.get(key).map_or_else(|| default.to_owned(), plain))
    };
    let has_own_field = |key: &str| {
        [DIRECTORY.0, AGENT.0, TOLD].contains(&key) || own_model::tells(key) || powers::tells(key)
    };
    let mut fields = vec![given(DIRECTORY), named("model", &own_model::line(settings)), given(AGENT)];
    fields.extend(powers::words(settings).map(|words| named("may do", &words)));
    let others = settings.iter().filter(|(key, _)| !has_own_field(key));
    fields.extend(others.map(|(key, value)| named(key, &plain(value))));
    fields.extend(told::fields(settings).iter().map(|(key, value)| named(key, value)));
    fields
}

fn expiry(row: &StepRow, now: Millis) -> String {
    let left = row.expires_at.map_or(row.expiry_ms, |at| at - now).max(0);
    match (left / 60_000, left / 1_000 % 60) {
        (0, seconds) => format!("in {seconds} s"),
        (minutes, 0) => format!("in {minutes} min"),
        (minutes, seconds) => format!("in {minutes} min {seconds} s"),
    }
}

fn whole(row: &StepRow, input: &[Entry<'_>]) -> String {
    let StepRow { id, connector, action, digest, .. } = row;
    let mut text =
        format!("step {id} · {} · {}\ndigest {}\n", one_line(connector), one_line(action), digest.as_str());
    let settings = row.target.settings.iter().filter(|(key, _)| *key != TOLD);
    let settings = settings.map(|(key, value)| (key.clone(), plain(value)));
    for (key, value) in settings.chain(told::fields(&row.target.settings)) {
        text.push_str(&format!("\n{}: {}", one_line(&key), visible(&value)));
    }
    for Entry { key, texts, .. } in input {
        text.push_str(&format!("\n\n── {} ──\n{}", one_line(key), visible(&texts.join("\n"))));
    }
    text.push('\n');
    text
}
