//! Steps.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use toml::de::DeValue;

use super::condition;
use super::table::{Item, Keys, Located, in_words, suggest};
use super::template::{self, Visible};
use super::{Sink, springtale, value};
use crate::diagnostic::Code;
use crate::duration;
use crate::path::step_number;
use crate::rule::{Action, OnError, Param, Params, Step, Trigger};

/// The longest wait.
const LONGEST_DELAY: Duration = Duration::from_hours(30 * 24);

/// The longest time for which a key counts as seen.
const LONGEST_WINDOW: Duration = Duration::from_hours(365 * 24);

/// Reads `[[actions]]`.
pub(super) fn read_all(item: Item<'_>, trigger: Option<&Trigger>, sink: &Sink<'_>) -> Option<Vec<Step>> {
    let DeValue::Array(items) = item.get_ref() else {
        let message = "`actions` is a list of steps";
        let help = "write `[[actions]]`, with two brackets";
        sink.error_with(Code::WrongType, item.span(), message, help);
        return None;
    };
    if items.is_empty() {
        let message = "a rule has at least one step";
        sink.error(Code::InvalidValue, item.span(), message);
        return None;
    }
    let items = springtale::flatten(items, sink)?;
    let names: Vec<_> = items.iter().map(|item| peek_name(item)).collect();
    let connectors: Vec<_> =
        items.iter().map(|item| springtale::word(item, "type") == Some("RunConnector")).collect();
    check_names(items.iter().copied(), sink);
    let steps: Vec<_> = items
        .iter()
        .enumerate()
        .map(|(index, item)| {
            let visible = Visible {
                run: true,
                trigger,
                steps: &names,
                connectors: &connectors,
                earlier: index,
                failed: None,
                handlers: &[],
                handled: false,
            };
            read_main(item, index + 1, &visible, sink)
        })
        .collect();
    steps.into_iter().collect()
}

fn read_main(item: Item<'_>, number: usize, visible: &Visible<'_>, sink: &Sink<'_>) -> Option<Step> {
    let mut keys = Keys::of(item, "a step", sink)?;
    let on_error = keys.take("on_error");
    let mut step = read(&mut keys, visible)?;
    keys.finish();
    step.number = Some(number);
    step.label = step.name.clone().unwrap_or_else(|| format!("step{number}"));
    if let Some(item) = on_error {
        // A handler sees the step that failed.
        let visible = Visible { earlier: number, failed: Some(number - 1), ..*visible };
        step.on_error = read_on_error(item, number, &visible, sink)?;
    }
    Some(step)
}

fn read_on_error(item: Item<'_>, number: usize, visible: &Visible<'_>, sink: &Sink<'_>) -> Option<OnError> {
    let items = match item.get_ref() {
        DeValue::String(word) if word == "stop" => return Some(OnError::Stop),
        DeValue::String(word) if word == "continue" => return Some(OnError::Continue),
        DeValue::Array(items) if !items.is_empty() => springtale::flatten(items, sink)?,
        _ => {
            let message = "`on_error` is `stop`, `continue` or a list of steps";
            sink.error(Code::InvalidValue, item.span(), message);
            return None;
        }
    };
    let mut handlers: Vec<String> = Vec::new();
    let mut handled = false;
    let mut steps = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let mut keys = Keys::of(item, "a step of an `on_error`", sink)?;
        let visible = Visible { handlers: &handlers, handled, ..*visible };
        handled |= springtale::word(item, "type") == Some("RunConnector");
        let mut step = read(&mut keys, &visible)?;
        keys.finish();
        step.label = match &step.name {
            Some(name) => name.clone(),
            None => format!("step{number}.on_error{}", index + 1),
        };
        handlers.extend(step.name.clone());
        steps.push(step);
    }
    Some(OnError::Steps(steps))
}

/// What all steps have.
fn read(keys: &mut Keys<'_, '_>, visible: &Visible<'_>) -> Option<Step> {
    let sink = keys.sink;
    let name = keys.text("name").map(|name| name.value);
    let timeout = keys.length("timeout");
    let when = match keys.take("when") {
        Some(item) => condition::read_all(item, "when", true, visible, sink),
        None => Some(Vec::new()),
    };
    let action = read_action(keys, visible);
    Some(Step {
        action: action?,
        name,
        timeout,
        when: when?,
        on_error: OnError::Stop,
        label: String::new(),
        number: None,
    })
}

fn read_action(keys: &mut Keys<'_, '_>, visible: &Visible<'_>) -> Option<Action> {
    let sink = keys.sink;
    let kind = keys.required_text("type")?;
    match kind.value.as_str() {
        "RunConnector" => {
            keys.rename("a `RunConnector` step");
            let connector = fixed(keys, "connector");
            let action = fixed(keys, "action");
            let params = match keys.take("params") {
                Some(item) => read_params(item, visible, sink),
                None => Some(BTreeMap::new()),
            };
            Some(Action::RunConnector { connector: connector?, action: action?, params: params? })
        }
        name @ ("Reply" | "SendMessage") => {
            if name == "SendMessage" {
                sink.alias(kind.span.clone(), name, "`Reply`");
            }
            keys.rename("a `Reply` step");
            let text = keys.required_text("text")?;
            let text = template::read(text, visible, sink)?;
            Some(Action::Reply { text })
        }
        // Springtale's goes to whoever runs it. Here that is a schedule's own chat, and no other.
        "Notify"
            if visible.trigger.is_some_and(|trigger| matches!(trigger, Trigger::ConnectorEvent { .. })) =>
        {
            let message = "`Notify` tells whoever runs the host, and this rule has no chat of theirs";
            let help = "write `Reply` if the chat that fired the rule is to be told; a schedule's chat is in `[schedules]`";
            sink.error_with(Code::UnknownType, kind.span, message, help);
            None
        }
        name @ "Notify" => {
            sink.alias(kind.span.clone(), name, "`Reply`, with title and body as its `text`");
            keys.rename("a `Notify` step");
            let title = keys.required_text("title")?;
            let body = keys.text("body").filter(|body| !body.value.is_empty());
            let title = template::read(title, visible, sink);
            let text = match body {
                Some(body) => title?.join("\n", template::read(body, visible, sink)?),
                None => title?,
            };
            Some(Action::Reply { text })
        }
        "Delay" => {
            keys.rename("a `Delay` step");
            read_delay(keys)
        }
        "Dedupe" => {
            keys.rename("a `Dedupe` step");
            let key = keys.required_text("key")?;
            let bucket = if keys.placed("bucket").is_some() { Some(fixed(keys, "bucket")?) } else { None };
            let window = if keys.placed("window").is_some() {
                Some(bounded(keys, "window", LONGEST_WINDOW)?)
            } else {
                None
            };
            Some(Action::Dedupe { key: template::read(key, visible, sink)?, bucket, window })
        }
        other => {
            unknown_action(other, &kind, sink);
            None
        }
    }
}

/// `for`, or Springtale's `seconds`.
fn read_delay(keys: &mut Keys<'_, '_>) -> Option<Action> {
    let length = if let Some(written) = keys.placed("seconds") {
        let seconds = keys.count("seconds")?;
        let length = Duration::from_secs(seconds.get().into());
        keys.sink.alias(written.clone(), "seconds", &format!("`for = \"{}\"`", duration::print(length)));
        within(keys.sink, written, "seconds", length, LONGEST_DELAY)?
    } else {
        if keys.placed("for").is_none() {
            keys.missing("for");
            return None;
        }
        bounded(keys, "for", LONGEST_DELAY)?
    };
    Some(Action::Delay { length })
}

fn bounded(keys: &mut Keys<'_, '_>, key: &'static str, most: Duration) -> Option<Duration> {
    let written = keys.placed(key)?;
    let length = keys.length(key)?;
    within(keys.sink, written, key, length, most)
}

fn within(
    sink: &Sink<'_>,
    at: Range<usize>,
    key: &str,
    length: Duration,
    most: Duration,
) -> Option<Duration> {
    if length > most {
        let days = most.as_secs() / (24 * 60 * 60);
        sink.error(Code::InvalidValue, at, format!("`{key}` is at most {days} days"));
        return None;
    }
    Some(length)
}

fn unknown_action(name: &str, written: &Located<String>, sink: &Sink<'_>) {
    let types = ["RunConnector", "Reply", "Delay", "Dedupe"];
    let help = springtale::instead_of_action(name)
        .map(str::to_owned)
        .or_else(|| suggest(name, types.into_iter()))
        .unwrap_or_else(|| format!("the types are {}", in_words(&types)));
    let message = format!("there is no action of type `{name}`");
    sink.error_with(Code::UnknownType, written.span.clone(), message, help);
}

/// A text that is no template.
pub(super) fn fixed(keys: &mut Keys<'_, '_>, key: &'static str) -> Option<String> {
    let text = keys.required_text(key)?;
    if text.value.contains("${") {
        let message = format!("`{key}` is fixed; nothing is filled in here");
        keys.sink.error(Code::InvalidValue, text.span, message);
        return None;
    }
    Some(text.value)
}

fn read_params(item: Item<'_>, visible: &Visible<'_>, sink: &Sink<'_>) -> Option<Params> {
    let DeValue::Table(table) = item.get_ref() else {
        let message = "`params` is a table";
        sink.error(Code::WrongType, item.span(), message);
        return None;
    };
    let read: Vec<_> = table
        .iter()
        .map(|(key, item)| {
            let key = key.get_ref().as_ref().to_owned();
            Some((key, read_param(item, visible, sink)?))
        })
        .collect();
    read.into_iter().collect()
}

fn read_param(item: Item<'_>, visible: &Visible<'_>, sink: &Sink<'_>) -> Option<Param> {
    match item.get_ref() {
        DeValue::String(text) => {
            let text = Located { value: text.as_ref().to_owned(), span: item.span() };
            template::read(text, visible, sink).map(Param::Template)
        }
        DeValue::Array(items) => {
            let read: Vec<_> = items.iter().map(|item| read_param(item, visible, sink)).collect();
            read.into_iter().collect::<Option<_>>().map(Param::List)
        }
        DeValue::Table(_) => read_params(item, visible, sink).map(Param::Table),
        DeValue::Datetime(datetime) => {
            let text = datetime.to_string();
            let parts = vec![crate::template::Part::Text(text)];
            Some(Param::Template(crate::template::Template { parts }))
        }
        _ => value::read(item, sink).map(Param::Plain),
    }
}

fn peek_name(item: Item<'_>) -> Option<String> {
    let name = item.get_ref().get("name")?.get_ref().as_str()?;
    Some(name.to_owned())
}

/// Names can be written in a reference, are no place, and are unique in the rule.
fn check_names<'t>(items: impl Iterator<Item = Item<'t>>, sink: &Sink<'_>) {
    let mut seen: BTreeMap<String, crate::source::Span> = BTreeMap::new();
    for item in items {
        let handlers = item.get_ref().get("on_error");
        let handlers = handlers.and_then(|list| list.get_ref().as_array());
        let handlers = handlers.map(|list| springtale::unchained(list)).unwrap_or_default();
        let all = std::iter::once(item).chain(handlers);
        for item in all {
            let Some(written) = item.get_ref().get("name") else {
                continue;
            };
            let Some(name) = written.get_ref().as_str() else {
                continue;
            };
            check_name(name, written.span(), sink);
            if let Some(first) = seen.get(name) {
                let message = format!("two steps are named `{name}`");
                let (first, source) = (first.clone(), sink.source);
                sink.report(crate::Severity::Error, Code::DuplicateName, written.span(), message, |bare| {
                    bare.related("the first is here", source, first)
                });
            } else {
                seen.insert(name.to_owned(), written.span());
            }
        }
    }
}

fn check_name(name: &str, span: crate::source::Span, sink: &Sink<'_>) {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(plain) {
        let help = "use letters, digits, `_` and `-`";
        let message = format!("{name:?} is no name for a step");
        sink.error_with(Code::InvalidValue, span, message, help);
    } else if step_number(name).is_some() {
        let message = format!("`{name}` names a step by its place");
        let help = "give the step a name of its own";
        sink.error_with(Code::InvalidValue, span, message, help);
    }
}
