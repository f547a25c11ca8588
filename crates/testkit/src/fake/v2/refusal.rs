//! What a request is refused with.

use serde_json::{Value, json};

use crate::fake::fault::Canned;
use crate::fake::reply::json_answer;
use crate::fake::server::Answer;

/// A refusal: `{_tag, message}` and its status.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    tag: String,
    message: String,
}

impl Refusal {
    fn new(status: u16, tag: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, tag: tag.into(), message: message.into() }
    }

    /// 400, with the place that is wrong in the message.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidRequestError", message)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "UnauthorizedError", "Authentication required")
    }

    pub(super) fn not_found(what: &str, id: &str) -> Self {
        Self::new(404, format!("{what}NotFoundError"), format!("{what} not found: {id}"))
    }

    pub(super) fn conflict(tag: &str, message: impl Into<String>) -> Self {
        Self::new(409, tag, message)
    }

    /// No such route: 404 without a body.
    pub(super) fn no_route() -> Self {
        Self::new(404, "", "")
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let Refusal { status, tag, message } = refusal;
        if tag.is_empty() {
            return Self::Whole(Canned::empty(status));
        }
        json_answer(status, &json!({ "_tag": tag, "message": message }))
    }
}

/// Refuses a body that is no object, or has other keys than these.
pub(super) fn only(body: &Value, keys: &[&str]) -> Result<(), Refusal> {
    let Some(fields) = body.as_object() else { return Err(Refusal::bad("Expected an object")) };
    match fields.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => Err(Refusal::bad(format!("Unexpected key at [\"{key}\"]"))),
        None => Ok(()),
    }
}

/// Refuses a value that is there and no string.
pub(super) fn strings(body: &Value, keys: &[&str]) -> Result<(), Refusal> {
    match keys.iter().find(|key| body.get(**key).is_some_and(|it| !it.is_string())) {
        Some(key) => Err(Refusal::bad(format!("Expected string at [\"{key}\"]"))),
        None => Ok(()),
    }
}
