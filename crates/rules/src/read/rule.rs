//! The whole file: its tables, and Springtale's way of writing the first of them.

use toml::de::{DeTable, DeValue};

use super::table::{Item, Keys, Located, in_words, suggest, text};
use super::template::{self, Visible};
use super::{Sink, condition, springtale, step, test_case};
use crate::chat_address::ChatAddress;
use crate::diagnostic::Code;
use crate::file_watch::{FILE_WATCH, FileEvent, FilePattern, FileWatch};
use crate::rule::{Header, Provenance, RuleFile, Trigger};
use crate::schedule::{Expression, SCHEDULE, Schedule};
use crate::source::Span;
use crate::webhook::{HookPath, WEBHOOK};

pub(super) fn read(table: &DeTable<'_>, span: Span, sink: &Sink<'_>) -> Option<RuleFile> {
    // The file as a whole has no place worth showing; its first line stands for it.
    let end = sink.source.text.find('\n').unwrap_or(span.end);
    let mut keys = Keys::new(table, 0..end, "a rule file", sink);
    let trigger = keys.required("trigger");
    let trigger = trigger.and_then(|item| read_trigger(item, sink));
    let visible = Visible {
        run: false,
        trigger: trigger.as_ref(),
        steps: &[],
        connectors: &[],
        handled: false,
        earlier: 0,
        failed: None,
        handlers: &[],
    };
    let rule = match keys.take("rule") {
        Some(item) => read_header(item, &visible, sink),
        None => read_springtale_header(&mut keys),
    };
    let conditions = match keys.take("conditions") {
        Some(item) => condition::read_all(item, "conditions", false, &visible, sink),
        None => Some(Vec::new()),
    };
    let actions = keys.required("actions");
    let actions = actions.and_then(|item| step::read_all(item, trigger.as_ref(), sink));
    let labels = actions.as_deref().map(test_case::labels);
    let tests = match keys.take("tests") {
        Some(item) => test_case::read_all(item, labels.as_deref(), sink),
        None => Some(Vec::new()),
    };
    keys.finish();
    Some(RuleFile {
        rule: rule?,
        trigger: trigger?,
        conditions: conditions?,
        actions: actions?,
        tests: tests?,
    })
}

fn read_header(item: Item<'_>, visible: &Visible<'_>, sink: &Sink<'_>) -> Option<Header> {
    let mut keys = Keys::of(item, "`[rule]`", sink)?;
    let name = keys.required_text("name").and_then(|name| named(name, sink));
    let description = keys.text("description").map(|text| text.value);
    let enabled = keys.boolean("enabled").unwrap_or(true);
    let cooldown = keys.length("cooldown");
    let max_concurrent = keys.count("max_concurrent");
    let approvers = keys.texts("approvers").map(|list| list.into_iter().map(|text| text.value).collect());
    let approvals_needed = keys.count("approvals_needed");
    let require_other_approver = keys.boolean("require_other_approver").unwrap_or(false);
    let followers = match keys.texts("followers") {
        Some(list) => read_followers(list, sink),
        None => Some(Vec::new()),
    };
    let status = read_springtale_keys(&mut keys)?;
    let provenance = match keys.take("provenance") {
        Some(item) => read_provenance(item, visible, sink),
        None => Some(Provenance::Usual),
    };
    keys.finish();
    Some(Header {
        name: name?,
        description: description.unwrap_or_default(),
        // Either switches it off.
        enabled: enabled && status.unwrap_or(true),
        cooldown,
        max_concurrent,
        approvers,
        approvals_needed: approvals_needed.unwrap_or(std::num::NonZeroU32::MIN),
        require_other_approver,
        followers: followers?,
        provenance: provenance?,
    })
}

/// A name fits on one line of a card or a log.
fn named(name: Located<String>, sink: &Sink<'_>) -> Option<String> {
    if name.value.chars().any(char::is_control) || name.value.chars().count() > 100 {
        let message = "a rule's name is one line of at most 100 characters";
        sink.error(Code::InvalidValue, name.span, message);
        return None;
    }
    Some(name.value)
}

/// The most chats that a run is told of beside its own.
const MOST_FOLLOWERS: usize = 16;

fn read_followers(list: Vec<Located<String>>, sink: &Sink<'_>) -> Option<Vec<ChatAddress>> {
    let mut all = Vec::new();
    for text in list {
        let wrong = match ChatAddress::parse(&text.value) {
            Ok(chat) if all.contains(&chat) => format!("`{chat}` is among the `followers` already"),
            Ok(_) if all.len() == MOST_FOLLOWERS => {
                format!("a rule has at most {MOST_FOLLOWERS} `followers`")
            }
            Ok(chat) => {
                all.push(chat);
                continue;
            }
            Err(why) => why,
        };
        sink.error(Code::InvalidValue, text.span, wrong);
        return None;
    }
    Some(all)
}

fn read_provenance(item: Item<'_>, visible: &Visible<'_>, sink: &Sink<'_>) -> Option<Provenance> {
    match item.get_ref() {
        DeValue::Boolean(true) => Some(Provenance::Usual),
        DeValue::Boolean(false) => Some(Provenance::Off),
        DeValue::String(_) => {
            let note = text(item, "provenance", sink)?;
            template::read(note, visible, sink).map(Provenance::Note)
        }
        _ => {
            let message = "`provenance` is `true`, `false` or the note's text";
            sink.error(Code::WrongType, item.span(), message);
            None
        }
    }
}

/// Springtale writes the header's keys at the top of the file.
fn read_springtale_header(keys: &mut Keys<'_, '_>) -> Option<Header> {
    let sink = keys.sink;
    let Some((span, item)) = keys.take_hidden("name") else {
        keys.missing("rule");
        return None;
    };
    let name = text(item, "name", sink).and_then(|name| named(name, sink));
    sink.alias(span, "name", "`name` under `[rule]`");
    let description = keys.take_hidden("description");
    let description = description.and_then(|(_, item)| text(item, "description", sink));
    let enabled = read_springtale_keys(keys)?.unwrap_or(true);
    Some(Header {
        name: name?,
        description: description.map(|text| text.value).unwrap_or_default(),
        enabled,
        cooldown: None,
        max_concurrent: None,
        approvers: None,
        approvals_needed: std::num::NonZeroU32::MIN,
        require_other_approver: false,
        followers: Vec::new(),
        provenance: Provenance::Usual,
    })
}

/// What Springtale says of a rule beside its name: the outer `None` is a mistake, the inner that
/// its `status` says nothing.
#[expect(clippy::option_option, reason = "absent and unreadable are different")]
fn read_springtale_keys(keys: &mut Keys<'_, '_>) -> Option<Option<bool>> {
    let sink = keys.sink;
    let status = match keys.take_hidden("status") {
        Some((span, item)) => Some(read_status(span, item, sink)?),
        None => None,
    };
    for key in ["id", "version"] {
        if let Some((span, _)) = keys.take_hidden(key) {
            sink.alias(span, key, "nothing: a rule is known by its name and its digest");
        }
    }
    if let Some((span, item)) = keys.take_hidden("owner") {
        read_owner(span, item, sink)?;
    }
    Some(status)
}

/// Whose events fire the rule. A rule of one agent's must not become everybody's.
fn read_owner(span: Span, item: Item<'_>, sink: &Sink<'_>) -> Option<()> {
    let kind = item.get_ref().get("kind").map_or(item.get_ref(), |kind| kind.get_ref()).as_str();
    if kind.is_some_and(|kind| kind.eq_ignore_ascii_case("global")) {
        sink.alias(span, "owner", "nothing: every rule is everybody's");
        return Some(());
    }
    let message = "there are no agents and no formations here that a rule could be of";
    let help = "leave `owner` out, and say by a condition whose events count, as in \
                `FieldIn` on `trigger.user_id`";
    sink.error_with(Code::InvalidValue, item.span(), message, help);
    None
}

fn read_status(span: Span, item: Item<'_>, sink: &Sink<'_>) -> Option<bool> {
    let status = text(item, "status", sink)?;
    let enabled = match status.value.as_str() {
        "enabled" => true,
        "disabled" | "draft" => false,
        other => {
            let message = format!("there is no status {other:?}");
            let help = "write `enabled`, `disabled` or `draft`";
            sink.error_with(Code::InvalidValue, status.span, message, help);
            return None;
        }
    };
    sink.alias(span, "status", &format!("`enabled = {enabled}` under `[rule]`"));
    Some(enabled)
}

fn read_trigger(item: Item<'_>, sink: &Sink<'_>) -> Option<Trigger> {
    let mut keys = Keys::of(item, "`[trigger]`", sink)?;
    let kind = keys.required_text("type")?;
    let trigger = match kind.value.as_str() {
        "ConnectorEvent" => {
            keys.rename("a `ConnectorEvent` trigger");
            let connector = keys.required_text("connector");
            let event = step::fixed(&mut keys, "event");
            let connector = connector.and_then(|name| not_ours(name, sink));
            keys.finish();
            Trigger::ConnectorEvent { connector: connector?, event: event? }
        }
        "Cron" => {
            keys.rename("a `Cron` trigger");
            let expression = keys.required_text("expression").and_then(|text| read_expression(&text, sink));
            let timezone = keys.zone("timezone");
            let overlap = keys.boolean("overlap").unwrap_or(false);
            keys.finish();
            Trigger::Cron(Box::new(Schedule { expression: expression?, timezone: timezone?, overlap }))
        }
        "Webhook" => {
            keys.rename("a `Webhook` trigger");
            let path = keys.required_text("path").and_then(|text| read_hook_path(&text, sink));
            keys.finish();
            Trigger::Webhook { path: path? }
        }
        "FileWatch" => {
            keys.rename("a `FileWatch` trigger");
            Trigger::FileWatch(Box::new(read_file_watch(keys)?))
        }
        other => {
            let types = ["ConnectorEvent", "Cron", "FileWatch", "Webhook"];
            let help = springtale::instead_of_trigger(other)
                .map(str::to_owned)
                .or_else(|| suggest(other, types.into_iter()))
                .unwrap_or_else(|| format!("the types are {}", in_words(&types)));
            let message = format!("there is no trigger of type `{other}`");
            sink.error_with(Code::UnknownType, kind.span, message, help);
            return None;
        }
    };
    Some(trigger)
}

fn read_hook_path(text: &Located<String>, sink: &Sink<'_>) -> Option<HookPath> {
    let read = HookPath::parse(&text.value);
    read.map_err(|why| sink.error(Code::InvalidValue, text.span.clone(), why)).ok()
}

fn read_file_watch(mut keys: Keys<'_, '_>) -> Option<FileWatch> {
    let sink = keys.sink;
    let path = step::fixed(&mut keys, "path");
    let event = match keys.text("event") {
        Some(word) => read_file_event(&word, sink),
        None => Some(FileEvent::Any),
    };
    let pattern = match keys.text("pattern") {
        Some(glob) => read_file_pattern(&glob, sink).map(Some),
        None => Some(None),
    };
    keys.finish();
    Some(FileWatch { path: path?, event: event?, pattern: pattern? })
}

fn read_file_event(word: &Located<String>, sink: &Sink<'_>) -> Option<FileEvent> {
    let event = FileEvent::named(&word.value);
    if event.is_none() {
        let message = format!("nothing called {:?} happens to a file", word.value);
        let words = FileEvent::WORDS;
        let help = suggest(&word.value, words.into_iter())
            .unwrap_or_else(|| format!("`event` is one of {}", in_words(&words)));
        sink.error_with(Code::InvalidValue, word.span.clone(), message, help);
    }
    event
}

fn read_file_pattern(glob: &Located<String>, sink: &Sink<'_>) -> Option<FilePattern> {
    FilePattern::new(&glob.value)
        .inspect_err(|why| {
            let message = format!("the pattern cannot be read: {why}");
            let help = "write a glob, as in `*.md` or `inbox/**/*.{pdf,txt}`";
            sink.error_with(Code::InvalidValue, glob.span.clone(), message, help);
        })
        .ok()
}

/// No connector may pass its events off as those that the host makes itself.
fn not_ours(name: Located<String>, sink: &Sink<'_>) -> Option<String> {
    let ours = [(SCHEDULE, "Cron"), (WEBHOOK, "Webhook"), (FILE_WATCH, "FileWatch")];
    let ours = ours.into_iter().find(|(connector, _)| *connector == name.value);
    if ours.is_none() && !name.value.contains("${") {
        return Some(name.value);
    }
    let message = format!("`{}` is no connector", name.value);
    let help = match ours {
        Some((_, kind)) => format!("write a trigger of type `{kind}`"),
        None => "a connector is fixed; nothing is filled in here".to_owned(),
    };
    sink.error_with(Code::InvalidValue, name.span, message, help);
    None
}

fn read_expression(text: &Located<String>, sink: &Sink<'_>) -> Option<Expression> {
    Expression::new(&text.value)
        .inspect_err(|why| {
            sink.error_with(
                Code::InvalidValue,
                text.span.clone(),
                format!("the expression cannot be read: {why}"),
                "write minute, hour, day of month, month and day of week, as in `0 3 * * 1-5`",
            );
        })
        .ok()
}
