//! Lengths of time as people write them: `30s`, `5m`, `1h 30m`.

use std::time::Duration;

use jiff::SignedDuration;
use serde::Serializer;

/// Reads a length of time; it must be longer than nothing.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let length: SignedDuration = text.trim().parse().ok()?;
    Duration::try_from(length).ok().filter(|length| !length.is_zero())
}

/// The canonical writing of a length of time; [`parse`] reads it back.
pub(crate) fn print(length: Duration) -> String {
    SignedDuration::try_from(length)
        .map_or_else(|_| format!("{}s", length.as_secs()), |length| format!("{length:#}"))
}

pub(crate) fn serialize_given<S: Serializer>(length: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&print(*length))
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
pub(crate) fn serialize<S: Serializer>(length: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match length {
        Some(length) => serializer.serialize_str(&print(*length)),
        None => serializer.serialize_none(),
    }
}
