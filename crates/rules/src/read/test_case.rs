//! `[[tests]]`.

use jiff::Timestamp;
use serde_json::{Map, Value};
use toml::de::DeValue;

use super::table::{Item, Keys, in_words, suggest};
use super::{Sink, value};
use crate::diagnostic::Code;
use crate::event::Reply;
use crate::rule::{ExpectedStep, Step, TestCase, TestEvent};

/// What a test may call the rule's steps.
pub(super) fn labels(steps: &[Step]) -> Vec<String> {
    let mut labels = Vec::new();
    for step in steps {
        labels.push(step.label().to_owned());
        labels.extend(step.number().map(|number| format!("step{number}")));
        labels.extend(step.on_error.steps().iter().map(|one| one.label().to_owned()));
    }
    labels.sort();
    labels.dedup();
    labels
}

/// Reads the examples; `labels` is missing when the steps could not be read.
pub(super) fn read_all(item: Item<'_>, labels: Option<&[String]>, sink: &Sink<'_>) -> Option<Vec<TestCase>> {
    let DeValue::Array(items) = item.get_ref() else {
        let help = "write `[[tests]]`, with two brackets";
        sink.error_with(Code::WrongType, item.span(), "`tests` is a list", help);
        return None;
    };
    let read: Vec<_> = items.iter().map(|item| read(item, labels, sink)).collect();
    read.into_iter().collect()
}

fn read(item: Item<'_>, labels: Option<&[String]>, sink: &Sink<'_>) -> Option<TestCase> {
    let mut keys = Keys::of(item, "a test", sink)?;
    let name = keys.required_text("name");
    let now = read_now(&mut keys);
    let fires = keys.boolean("fires").unwrap_or(true);
    let rules = keys.texts("rules").map(|list| list.into_iter().map(|text| text.value).collect());
    let event = match keys.take("event") {
        Some(item) => read_event(item, sink),
        None => Some(TestEvent::default()),
    };
    let steps = match keys.list("steps") {
        Some(items) => items.into_iter().map(|item| read_step(item, labels, sink)).collect(),
        None => Some(Vec::new()),
    };
    keys.finish();
    let steps: Vec<ExpectedStep> = steps?;
    if !fires && !steps.is_empty() {
        let message = "a rule that does not fire has no steps to look at";
        sink.error(Code::InvalidValue, item.span(), message);
        return None;
    }
    Some(TestCase { name: name?.value, now: now?, fires, rules, event: event?, steps })
}

/// The outer `None` is a time that could not be read.
#[expect(clippy::option_option, reason = "absent and unreadable are different")]
fn read_now(keys: &mut Keys<'_, '_>) -> Option<Option<Timestamp>> {
    let Some(item) = keys.take("now") else {
        return Some(None);
    };
    let text = match item.get_ref() {
        DeValue::String(text) => text.as_ref().to_owned(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        _ => String::new(),
    };
    if let Ok(now) = text.parse() {
        return Some(Some(now));
    }
    let help = "write it as in `2026-01-31T09:00:00Z`";
    let message = "`now` is a time with its distance from UTC";
    keys.sink.error_with(Code::InvalidValue, item.span(), message, help);
    None
}

fn read_event(item: Item<'_>, sink: &Sink<'_>) -> Option<TestEvent> {
    let mut keys = Keys::of(item, "the event of a test", sink)?;
    let mut text = |key| keys.text(key).map(|text| text.value);
    let (id, connector, event) = (text("id"), text("connector"), text("event"));
    let payload = match keys.take("payload") {
        Some(item) => {
            if let Value::Object(fields) = value::read(item, sink)? {
                Some(fields)
            } else {
                let message = "`payload` is a table";
                sink.error(Code::WrongType, item.span(), message);
                None
            }
        }
        None => Some(Map::new()),
    };
    let reply = match keys.take("reply") {
        Some(item) => Some(read_reply(item, sink)?),
        None => None,
    };
    keys.finish();
    Some(TestEvent { id, connector, event, payload: payload?, reply })
}

fn read_reply(item: Item<'_>, sink: &Sink<'_>) -> Option<Reply> {
    let mut keys = Keys::of(item, "a reply", sink)?;
    let session_id = keys.required_text("session_id");
    let run_id = keys.required_text("run_id");
    let workspace = keys.required_text("workspace");
    let mut text = |key| keys.text(key).map(|text| text.value);
    let (branch, base, commit) = (text("branch"), text("base"), text("commit"));
    keys.finish();
    let (session_id, run_id, workspace) = (session_id?.value, run_id?.value, workspace?.value);
    Some(Reply { session_id, run_id, workspace, branch, base, commit })
}

fn read_step(item: Item<'_>, labels: Option<&[String]>, sink: &Sink<'_>) -> Option<ExpectedStep> {
    let mut keys = Keys::of(item, "a step of a test", sink)?;
    let step = keys.required_text("step");
    let input = keys.take("input");
    let skipped = keys.boolean("skipped").unwrap_or(false);
    let unresolved = keys.boolean("unresolved").unwrap_or(false);
    let output = keys.take("output");
    let error = keys.text("error").map(|text| text.value);
    keys.finish();
    let step = step?;
    if let Some(labels) = labels
        && !labels.contains(&step.value)
    {
        let help = suggest(&step.value, labels.iter().map(String::as_str))
            .unwrap_or_else(|| format!("its steps are {}", in_words(labels)));
        let message = format!("the rule has no step `{}`", step.value);
        sink.error_with(Code::UnresolvableReference, step.span, message, help);
        return None;
    }
    let exclusive = [skipped, unresolved, output.is_some(), error.is_some()];
    if exclusive.into_iter().filter(|one| *one).count() > 1 {
        let message = "a step is `skipped`, `unresolved`, gives `output` or ends in `error`";
        sink.error(Code::InvalidValue, item.span(), message);
        return None;
    }
    Some(ExpectedStep {
        step: step.value,
        input: match input {
            Some(item) => Some(value::read(item, sink)?),
            None => None,
        },
        skipped,
        unresolved,
        output: match output {
            Some(item) => Some(value::read(item, sink)?),
            None => None,
        },
        error,
    })
}
