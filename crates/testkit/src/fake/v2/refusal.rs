//! What a request is refused with.

use serde_json::{Value, json};

use crate::fake::fault::Canned;
use crate::fake::reply::json_answer;
use crate::fake::server::Answer;

/// A refusal: `{_tag, message}`, what it is about, and its status.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    tag: String,
    message: String,
    about: Option<(&'static str, String)>,
}

impl Refusal {
    fn new(status: u16, tag: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, tag: tag.into(), message: message.into(), about: None }
    }

    /// 400, with the place that is wrong in the message.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidRequestError", message).about("kind", "Payload")
    }

    /// 400 for a query.
    pub(super) fn bad_query(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidRequestError", message).about("kind", "Query")
    }

    fn about(self, key: &'static str, value: impl Into<String>) -> Self {
        Self { about: Some((key, value.into())), ..self }
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "UnauthorizedError", "Authentication required")
    }

    pub(super) fn not_found(what: &str, id: &str) -> Self {
        let (key, named) = match what {
            "Session" => ("sessionID", "Session"),
            "Permission" => ("requestID", "Permission request"),
            other => ("id", other),
        };
        Self::new(404, format!("{what}NotFoundError"), format!("{named} not found: {id}")).about(key, id)
    }

    pub(super) fn conflict(tag: &str, id: &str, message: impl Into<String>) -> Self {
        Self::new(409, tag, message).about("id", id)
    }

    /// No such route: 404 without a body.
    pub(super) fn no_route() -> Self {
        Self::new(404, "", "")
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let Refusal { status, tag, message, about } = refusal;
        if tag.is_empty() {
            return Self::Whole(Canned::empty(status));
        }
        let mut body = json!({ "_tag": tag, "message": message });
        if let Some((key, value)) = about {
            body[key] = json!(value);
        }
        json_answer(status, &body)
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
