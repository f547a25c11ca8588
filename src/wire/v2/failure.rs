//! Errors: of a turn, of a step, of a tool, and of a request.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::number::Number;
use crate::wire::words;
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
    let message = raw.message.as_deref().unwrap_or_default().trim();
    let status = raw.status.map(Number::whole).filter(|status| *status > 0);
    let reason = words::of(&kind, message, status);
    let kind = match kind.as_str() {
        "aborted" => FailureKind::Aborted,
        "provider.no-route" => FailureKind::UnknownModel,
        _ => FailureKind::Other,
    };
    Some(Failure { kind, reason })
}

/// What a tool says that has failed: its words are the agent's, as its output is.
pub(super) fn of_tool(error: &RawValue) -> Option<String> {
    serde_json::from_str::<Raw>(error.get()).ok()?.message
}

/// Whether it says that a person did not let a tool run, or did not answer its question. A tool that
/// was cut off for another reason was `aborted` too: then the words tell.
pub(super) fn is_refusal(error: &RawValue) -> bool {
    let Ok(raw) = serde_json::from_str::<Raw>(error.get()) else { return false };
    match raw.kind.as_deref() {
        Some("permission.rejected" | "form.cancelled") => true,
        Some("aborted") => raw.message.is_some_and(|words| words.starts_with("The user ")),
        _ => false,
    }
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
    let reason = words::of_answer(&answer.tag, answer.message.as_deref().unwrap_or_default());
    Some(Failure { kind: FailureKind::Other, reason })
}
