//! Webhook triggers: the path that requests come to, and the event that one of them makes.
//!
//! Nothing here listens or checks a signature. The host does both, and makes the event with
//! [`HookPath::event`], which fires every rule of that path.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::event::Event;

/// The connector name of events that webhooks make; the event's name is the path.
pub const WEBHOOK: &str = "webhook";

/// What the payload of a webhook's event holds under `webhook`, beside what the body says.
pub(crate) const WEBHOOK_FIELDS: [&str; 3] = ["path", "id", "headers"];

/// The longest path.
const LONGEST: usize = 200;

/// The path of a webhook: `/hooks/ci`.
///
/// It is compared byte by byte, so it has nothing in it that could be written in two ways.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct HookPath(String);

impl HookPath {
    /// Reads a path; one without a slash at its beginning gets one. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let below = text.strip_prefix('/').unwrap_or(text);
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        let fine = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(letter);
        if below.len() >= LONGEST || !below.split('/').all(fine) {
            return Err(format!(
                "{text:?} is no path of a webhook: that is `/` and words of letters, digits, `-`, `_`, `.` and `~`, \
                 as in `/hooks/ci`"
            ));
        }
        Ok(Self(format!("/{below}")))
    }

    /// As a request names it, from its slash on.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The event of one request: `id` is its delivery's, `headers` are those that rules may read.
    ///
    /// The fields of a body that is an object are the payload's own, as Springtale has them; any other body is its
    /// `body`. `webhook` and `reply` are never the sender's.
    pub fn event(&self, id: &str, headers: &Map<String, Value>, body: Value) -> Event {
        let mut payload = match body {
            Value::Object(fields) => fields,
            other => Map::from_iter([("body".to_owned(), other)]),
        };
        payload.remove("reply");
        payload.insert("webhook".to_owned(), json!({ "path": self.0, "id": id, "headers": headers }));
        Event {
            id: format!("{WEBHOOK}:{}:{id}", self.0),
            connector: WEBHOOK.to_owned(),
            event: self.0.clone(),
            payload: Value::Object(payload),
            reply: None,
        }
    }
}

impl TryFrom<String> for HookPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<HookPath> for String {
    fn from(path: HookPath) -> Self {
        path.0
    }
}

impl fmt::Display for HookPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_in_one_way() {
        for (written, path) in [
            ("/hooks/ci", "/hooks/ci"),
            ("deploys", "/deploys"),
            ("a/b-c_d.e~f", "/a/b-c_d.e~f"),
            ("/A", "/A"),
        ] {
            assert_eq!(HookPath::parse(written).unwrap().as_str(), path);
        }
        for wrong in [
            "",
            "/",
            "//",
            "/a/",
            "/a//b",
            "/..",
            "/a/../b",
            "/.hidden",
            "/a b",
            "/a%2fb",
            "/a?b",
            "/a#b",
            "/ä",
            "/{a}",
            "/*",
            "/a\n",
            "http://x/a",
            &"a".repeat(LONGEST),
        ] {
            assert!(HookPath::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_body_is_the_payload_and_says_nothing_of_the_request_itself() {
        let path = HookPath::parse("/ci").unwrap();
        let headers = Map::from_iter([("x-github-event".to_owned(), json!("push"))]);
        let ours = json!({ "path": "/ci", "id": "d1", "headers": { "x-github-event": "push" } });
        for (body, payload) in [
            (json!({ "ref": "main" }), json!({ "ref": "main", "webhook": ours })),
            (json!({ "webhook": { "path": "/admin" } }), json!({ "webhook": ours })),
            (json!({ "reply": { "session_id": "ses_1" } }), json!({ "webhook": ours })),
            (json!([1]), json!({ "body": [1], "webhook": ours })),
            (json!("text"), json!({ "body": "text", "webhook": ours })),
        ] {
            let event = path.event("d1", &headers, body);
            assert_eq!(event.payload, payload);
            assert_eq!((event.id.as_str(), event.event.as_str()), ("webhook:/ci:d1", "/ci"));
        }
    }
}
