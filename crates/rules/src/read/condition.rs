//! Conditions.

use toml::de::DeValue;

use super::Sink;
use super::table::{Item, Keys, Located, in_words, suggest};
use super::template::{Visible, read_field};
use super::value;
use crate::condition::{Condition, Day, MAX_DEPTH, Pattern, parse_time};
use crate::diagnostic::Code;

/// Our names of the types.
const TYPES: [&str; 11] = [
    "FieldContains",
    "FieldEquals",
    "FieldStartsWith",
    "FieldMatches",
    "FieldIn",
    "FieldExists",
    "TimeInRange",
    "DayOfWeek",
    "All",
    "Any",
    "Not",
];

/// Springtale's names of some, and ours.
const ALIASES: [(&str, &str); 4] =
    [("Contains", "FieldContains"), ("Regex", "FieldMatches"), ("And", "All"), ("Or", "Any")];

/// Reads a list of conditions; with `single`, one condition will do too.
pub(super) fn read_all(
    item: Item<'_>,
    key: &str,
    single: bool,
    visible: &Visible<'_>,
    sink: &Sink<'_>,
) -> Option<Vec<Condition>> {
    match item.get_ref() {
        DeValue::Array(items) => read_items(items.iter(), visible, sink, 1),
        DeValue::Table(_) if single => Some(vec![read(item, visible, sink, 1)?]),
        _ => {
            let help = if single {
                "write a table, or a list of tables"
            } else {
                "write `[[conditions]]`, with two brackets"
            };
            let message = format!("`{key}` is a list of conditions");
            sink.error_with(Code::WrongType, item.span(), message, help);
            None
        }
    }
}

fn read_items<'t>(
    items: impl Iterator<Item = Item<'t>>,
    visible: &Visible<'_>,
    sink: &Sink<'_>,
    depth: usize,
) -> Option<Vec<Condition>> {
    // Every item is read, also after one that could not be.
    let read: Vec<_> = items.map(|item| read(item, visible, sink, depth)).collect();
    read.into_iter().collect()
}

fn read(item: Item<'_>, visible: &Visible<'_>, sink: &Sink<'_>, depth: usize) -> Option<Condition> {
    if depth > MAX_DEPTH {
        let message = format!("conditions nest at most {MAX_DEPTH} deep");
        sink.error(Code::InvalidValue, item.span(), message);
        return None;
    }
    let mut keys = Keys::of(item, "a condition", sink)?;
    let written = keys.required_text("type")?;
    let kind = canonical(&written, sink)?;
    keys.rename(format!("a `{kind}` condition"));
    let condition = match kind {
        "TimeInRange" => time_in_range(&mut keys),
        "DayOfWeek" => day_of_week(&mut keys),
        "All" | "Any" => several(&mut keys, kind, visible, depth),
        "Not" => keys
            .required("condition")
            .and_then(|inner| read(inner, visible, sink, depth + 1))
            .map(|one| Condition::Not { condition: Box::new(one) }),
        _ => about_a_field(&mut keys, kind, visible),
    };
    keys.finish();
    condition
}

/// Our name of the type that was written.
fn canonical(written: &Located<String>, sink: &Sink<'_>) -> Option<&'static str> {
    let name = written.value.as_str();
    if let Some(ours) = TYPES.into_iter().find(|ours| *ours == name) {
        return Some(ours);
    }
    if let Some((theirs, ours)) = ALIASES.into_iter().find(|(theirs, _)| *theirs == name) {
        sink.alias(written.span.clone(), theirs, &format!("`{ours}`"));
        return Some(ours);
    }
    let help =
        suggest(name, TYPES.into_iter()).unwrap_or_else(|| format!("the types are {}", in_words(&TYPES)));
    let message = format!("there is no condition of type `{name}`");
    sink.error_with(Code::UnknownType, written.span.clone(), message, help);
    None
}

fn about_a_field(keys: &mut Keys<'_, '_>, kind: &'static str, visible: &Visible<'_>) -> Option<Condition> {
    let sink = keys.sink;
    let field = keys.required_text("field").and_then(|text| read_field(text, visible, sink));
    match kind {
        "FieldExists" => Some(Condition::FieldExists { field: field? }),
        "FieldContains" => {
            let value = keys.required_text("value")?.value;
            Some(Condition::FieldContains { field: field?, value })
        }
        "FieldStartsWith" => {
            let value = keys.required_text("value")?.value;
            Some(Condition::FieldStartsWith { field: field?, value })
        }
        "FieldMatches" => {
            let text = keys.required_text("pattern")?;
            let pattern = pattern(&text, sink)?;
            Some(Condition::FieldMatches { field: field?, pattern })
        }
        "FieldIn" => {
            let Some(items) = keys.list("values") else {
                keys.missing("values");
                return None;
            };
            let values = items.into_iter().map(|item| value::read(item, sink));
            let values = values.collect::<Option<Vec<_>>>()?;
            Some(Condition::FieldIn { field: field?, values })
        }
        _ => {
            let item = keys.required("value")?;
            let value = value::read(item, sink)?;
            Some(Condition::FieldEquals { field: field?, value })
        }
    }
}

fn pattern(text: &Located<String>, sink: &Sink<'_>) -> Option<Pattern> {
    Pattern::new(&text.value)
        .inspect_err(|error| {
            // The engine's message draws the pattern over several lines; its last one says why.
            let whole = error.to_string();
            let why = whole.lines().last().unwrap_or_default();
            let why = why.trim_start_matches("error: ");
            let message = format!("the pattern cannot be read: {why}");
            sink.error(Code::InvalidValue, text.span.clone(), message);
        })
        .ok()
}

fn several(
    keys: &mut Keys<'_, '_>,
    kind: &'static str,
    visible: &Visible<'_>,
    depth: usize,
) -> Option<Condition> {
    let items = match keys.take_hidden("children") {
        Some((span, item)) => {
            keys.sink.alias(span, "children", "`conditions`");
            keys.known("conditions");
            keys.items(item, "children")
        }
        None => keys.list("conditions"),
    };
    let Some(items) = items else {
        keys.missing("conditions");
        return None;
    };
    let conditions = read_items(items.into_iter(), visible, keys.sink, depth + 1)?;
    Some(if kind == "All" { Condition::All { conditions } } else { Condition::Any { conditions } })
}

fn time_in_range(keys: &mut Keys<'_, '_>) -> Option<Condition> {
    let start = time(keys, "start");
    let end = time(keys, "end");
    let timezone = keys.zone("timezone")?;
    let (start, end) = (start?, end?);
    if start == end {
        let message = "a range that ends where it starts holds nothing";
        keys.sink.error(Code::InvalidValue, keys.span.clone(), message);
        return None;
    }
    Some(Condition::TimeInRange { start, end, timezone })
}

fn time(keys: &mut Keys<'_, '_>, key: &'static str) -> Option<jiff::civil::Time> {
    let text = keys.required_text(key)?;
    let time = parse_time(&text.value);
    if time.is_none() {
        let message = format!("`{key}` is a time of day, not {:?}", text.value);
        let help = "write it as in `09:00`";
        keys.sink.error_with(Code::InvalidValue, text.span, message, help);
    }
    time
}

fn day_of_week(keys: &mut Keys<'_, '_>) -> Option<Condition> {
    let Some(items) = keys.list("days") else {
        keys.missing("days");
        return None;
    };
    let sink = keys.sink;
    let mut days = Vec::new();
    for item in items {
        days.push(day(item, sink)?);
    }
    days.sort_unstable();
    days.dedup();
    let timezone = keys.zone("timezone")?;
    Some(Condition::DayOfWeek { days, timezone })
}

fn day(item: Item<'_>, sink: &Sink<'_>) -> Option<Day> {
    let day = match item.get_ref() {
        DeValue::String(name) => Day::named(name),
        DeValue::Integer(number) => {
            let day = number.as_str().parse().ok().and_then(Day::numbered);
            if let Some(day) = day {
                sink.alias(item.span(), number.as_str(), &format!("`{day}`"));
            }
            day
        }
        _ => None,
    };
    if day.is_none() {
        let help = "write `monday` to `sunday`";
        sink.error_with(Code::InvalidValue, item.span(), "this is no day", help);
    }
    day
}
