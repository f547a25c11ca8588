//! One table: take the keys one knows, complain about the rest.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Sink;
use crate::condition::Zone;
use crate::diagnostic::Code;
use crate::duration;
use crate::source::Span;

/// A value and where it stands.
pub(super) type Item<'t> = &'t Spanned<DeValue<'t>>;

/// A value that was read, and where it stood.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

/// A table being read.
pub(super) struct Keys<'t, 's> {
    /// Key, place of the key, value; what is left has not been taken.
    left: Vec<(&'t str, Span, Item<'t>)>,
    /// Every key that was asked for: what the table may have.
    known: Vec<&'static str>,
    /// What the table is, for messages: `[rule]`, `a FieldEquals condition`.
    what: String,
    /// Where the table itself stands.
    pub(super) span: Span,
    pub(super) sink: &'s Sink<'s>,
}

impl<'t, 's> Keys<'t, 's> {
    pub(super) fn new(
        table: &'t DeTable<'t>,
        span: Span,
        what: impl Into<String>,
        sink: &'s Sink<'s>,
    ) -> Self {
        let left = table.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span(), value)).collect();
        Self { left, known: Vec::new(), what: what.into(), span, sink }
    }

    /// Reads `item` as a table.
    pub(super) fn of(item: Item<'t>, what: impl Into<String>, sink: &'s Sink<'s>) -> Option<Self> {
        let what = what.into();
        match item.get_ref() {
            DeValue::Table(table) => Some(Self::new(table, item.span(), what, sink)),
            other => {
                sink.error(Code::WrongType, item.span(), format!("{what} is a table, not {}", kind(other)));
                None
            }
        }
    }

    pub(super) fn rename(&mut self, what: impl Into<String>) {
        self.what = what.into();
    }

    /// Where `key` stands, if it is there and was not taken.
    pub(super) fn placed(&self, key: &str) -> Option<Span> {
        self.left.iter().find(|(name, ..)| *name == key).map(|(_, span, _)| span.clone())
    }

    pub(super) fn take(&mut self, key: &'static str) -> Option<Item<'t>> {
        self.take_entry(key).map(|(_, item)| item)
    }

    /// The value of `key` with the place of the key.
    pub(super) fn take_entry(&mut self, key: &'static str) -> Option<(Span, Item<'t>)> {
        self.known.push(key);
        self.take_hidden(key)
    }

    /// As [`Self::take_entry`], without the key being suggested to anybody.
    pub(super) fn take_hidden(&mut self, key: &str) -> Option<(Span, Item<'t>)> {
        let at = self.left.iter().position(|(name, ..)| *name == key)?;
        let (_, span, item) = self.left.swap_remove(at);
        Some((span, item))
    }

    /// The value of a key that must be there.
    pub(super) fn required(&mut self, key: &'static str) -> Option<Item<'t>> {
        let item = self.take(key);
        if item.is_none() {
            self.missing(key);
        }
        item
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<Located<String>> {
        let item = self.take(key)?;
        text(item, key, self.sink)
    }

    /// A text that has something in it.
    pub(super) fn required_text(&mut self, key: &'static str) -> Option<Located<String>> {
        let item = self.required(key)?;
        let found = text(item, key, self.sink)?;
        if found.value.trim().is_empty() {
            let message = format!("`{key}` is empty");
            self.sink.error(Code::InvalidValue, found.span, message);
            return None;
        }
        Some(found)
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let item = self.take(key)?;
        let found = item.get_ref().as_bool();
        if found.is_none() {
            self.wrong(item, key, "a boolean");
        }
        found
    }

    /// A whole number of at least 1.
    pub(super) fn count(&mut self, key: &'static str) -> Option<std::num::NonZeroU32> {
        let item = self.take(key)?;
        let DeValue::Integer(integer) = item.get_ref() else {
            self.wrong(item, key, "a whole number");
            return None;
        };
        let number =
            u32::from_str_radix(integer.as_str(), integer.radix()).ok().and_then(std::num::NonZeroU32::new);
        if number.is_none() {
            let message = format!("`{key}` is a number from 1 up, not {}", integer.as_str());
            self.sink.error(Code::InvalidValue, item.span(), message);
        }
        number
    }

    pub(super) fn length(&mut self, key: &'static str) -> Option<Duration> {
        let found = self.text(key)?;
        let length = duration::parse(&found.value);
        if length.is_none() {
            self.sink.error_with(
                Code::InvalidValue,
                found.span,
                format!("`{key}` is a length of time, not {:?}", found.value),
                "write it as in `30s`, `5m` or `1h 30m`",
            );
        }
        length
    }

    /// A time zone; UTC when the key is not there.
    pub(super) fn zone(&mut self, key: &'static str) -> Option<Zone> {
        let Some(item) = self.take(key) else {
            return Some(Zone::utc());
        };
        let found = text(item, key, self.sink)?;
        let zone = Zone::named(&found.value);
        if zone.is_none() {
            self.sink.error_with(
                Code::InvalidValue,
                found.span,
                format!("there is no time zone {:?}", found.value),
                "use a name of the IANA database, as in `Europe/Berlin`",
            );
        }
        zone
    }

    /// The items of a list.
    pub(super) fn list(&mut self, key: &'static str) -> Option<Vec<Item<'t>>> {
        let item = self.take(key)?;
        self.items(item, key)
    }

    /// The items of `item`, which is the value of `key`.
    pub(super) fn items(&self, item: Item<'t>, key: &str) -> Option<Vec<Item<'t>>> {
        if let DeValue::Array(items) = item.get_ref() {
            return Some(items.iter().collect());
        }
        self.wrong(item, key, "a list");
        None
    }

    /// Counts `key` among those that the table may have.
    pub(super) fn known(&mut self, key: &'static str) {
        self.known.push(key);
    }

    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<Located<String>>> {
        let items = self.list(key)?;
        items.into_iter().map(|item| text(item, key, self.sink)).collect()
    }

    pub(super) fn missing(&self, key: &str) {
        self.sink.error(Code::MissingKey, self.span.clone(), format!("{} needs the key `{key}`", self.what));
    }

    fn wrong(&self, item: Item<'_>, key: &str, wanted: &str) {
        let found = kind(item.get_ref());
        let message = format!("`{key}` is {wanted}, not {found}");
        self.sink.error(Code::WrongType, item.span(), message);
    }

    /// Complains about every key that nobody took.
    pub(super) fn finish(mut self) {
        self.left.sort_by_key(|(_, span, _)| span.start);
        for (key, span, _) in &self.left {
            let message = format!("{} has no key `{key}`", self.what);
            let mut known = self.known.clone();
            known.sort_unstable();
            known.dedup();
            let help = suggest(key, known.iter().copied())
                .unwrap_or_else(|| format!("it may have {}", in_words(&known)));
            self.sink.error_with(Code::UnknownKey, span.clone(), message, help);
        }
    }
}

pub(super) fn text(item: Item<'_>, key: &str, sink: &Sink<'_>) -> Option<Located<String>> {
    if let Some(value) = item.get_ref().as_str() {
        let value = value.to_owned();
        let span = item.span();
        return Some(Located { value, span });
    }
    let found = kind(item.get_ref());
    let message = format!("`{key}` is a text, not {found}");
    sink.error(Code::WrongType, item.span(), message);
    None
}

/// What a TOML value is, in words.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// "did you mean", when one of the known words is close.
pub fn suggest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let folded = word.to_lowercase();
    known
        .map(|one| (strsim::jaro_winkler(&folded, &one.to_lowercase()), one))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, one)| format!("did you mean `{one}`?"))
}

/// `a`, `b` and `c`.
pub(crate) fn in_words(words: &[impl AsRef<str>]) -> String {
    let quoted: Vec<_> = words.iter().map(|w| format!("`{}`", w.as_ref())).collect();
    match quoted.split_last() {
        None => "none".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}
