//! Errors: of a turn, of a step, of a tool, and of a request.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::number::Number;
use crate::wire::read::shorten;
use crate::wire::{Failure, FailureKind};

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    status: Option<Number>,
}

/// Reads `{type, message, status?}`; `None` for nothing.
pub(super) fn read(error: &RawValue) -> Option<Failure> {
    if error.get() == "null" {
        return None;
    }
    let Ok(raw) = serde_json::from_str::<Raw>(error.get()) else {
        let reason = "the daemon reports an error in a shape of its own".to_owned();
        return Some(Failure { kind: FailureKind::Other, reason });
    };
    let kind = raw.kind.unwrap_or_default();
    let mut reason = shorten(raw.message.as_deref().unwrap_or("no reason given").trim(), 2000);
    if let Some(status) = raw.status.map(Number::whole).filter(|status| *status > 0) {
        reason = format!("{reason} (the model's provider answered {status})");
    }
    if !matches!(kind.as_str(), "" | "unknown") {
        reason = format!("{}: {reason}", shorten(&kind, 100));
    }
    let kind = match kind.as_str() {
        "aborted" => FailureKind::Aborted,
        "provider.no-route" => FailureKind::UnknownModel,
        _ => FailureKind::Other,
    };
    Some(Failure { kind, reason })
}

/// Whether it says that a person did not let a tool run.
pub(super) fn is_refusal(error: &RawValue) -> bool {
    serde_json::from_str::<Raw>(error.get())
        .is_ok_and(|raw| matches!(raw.kind.as_deref(), Some("permission.rejected" | "form.cancelled")))
}

/// Reads the body of an answer that is an error: `{_tag, message}`, or `{code}` of a
/// daemon that does not serve.
pub(super) fn of_answer(body: &[u8]) -> Option<Failure> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "_tag", alias = "code")]
        tag: String,
        #[serde(default)]
        message: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let tag = shorten(&answer.tag, 100);
    let reason = answer.message.map_or(tag.clone(), |message| format!("{tag}: {}", shorten(&message, 2000)));
    Some(Failure { kind: FailureKind::Other, reason })
}
