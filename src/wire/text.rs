//! Text that stays where it arrived.

use std::borrow::Cow;
use std::ops::Deref;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A string of an answer or event, borrowed when it has no escapes. In an
/// `Option`, a bare `Cow` would be copied: serde borrows only a field that is one.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Text<'_> {
    pub(super) fn into_owned(self) -> String {
        self.0.into_owned()
    }
}

impl<'a> Text<'a> {
    pub(super) fn into_cow(self) -> Cow<'a, str> {
        self.0
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// A string, or nothing where something else stands.
pub(super) fn words<'de: 'a, 'a, D: Deserializer<'de>>(given: D) -> Result<Option<Text<'a>>, D::Error> {
    let raw = Option::<&RawValue>::deserialize(given)?;
    Ok(raw.and_then(|raw| serde_json::from_str(raw.get()).ok()))
}
