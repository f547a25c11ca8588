//! Requests as values: where each goes and what it carries.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::id::RoomId;

const CLIENT: &str = "/_matrix/client/v3";

/// What an URL's segment or value shows as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A request, without the server and the token.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) method: Method,
    /// Path and query.
    pub(super) path: String,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
}

/// Everything that is looked at, and no more: what a room's members do to its looks is not sent.
const KINDS: [&str; 7] = [
    "m.room.message",
    "m.reaction",
    "m.room.member",
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.encryption",
    "m.room.tombstone",
];

/// How many events of one room come at once; what is more is a gap.
pub(crate) const TIMELINE: usize = 100;

/// How many events of a gap are fetched at once.
const PAGE: &str = "500";

fn encoded(segment: &str) -> String {
    utf8_percent_encode(segment, ENCODED).to_string()
}

/// Which events of the rooms are asked for, and at most how many of each room; of the members all that changed, or
/// those alone who said something. To whoever is in many rooms Synapse names the latter again and again.
fn filter(kinds: &[&str], timeline: usize, only_speakers: bool) -> Value {
    let none = json!({ "types": [] });
    json!({
        "presence": none,
        "account_data": none,
        "room": {
            "account_data": none,
            "ephemeral": none,
            "state": { "types": kinds, "lazy_load_members": only_speakers },
            "timeline": { "types": kinds, "limit": timeline },
        },
    })
}

impl Call {
    /// A call without a body, below what clients call.
    pub(super) fn at(method: Method, segments: &[&str]) -> Self {
        let path = segments.iter().fold(CLIENT.to_owned(), |path, it| format!("{path}/{}", encoded(it)));
        Self { method, path, content_type: "application/json", body: Bytes::new() }
    }

    pub(super) fn get(segments: &[&str]) -> Self {
        Self::at(Method::GET, segments)
    }

    pub(super) fn json(self, body: &Value) -> Self {
        Self { body: body.to_string().into(), ..self }
    }

    pub(super) fn query(mut self, pairs: &[(&str, &str)]) -> Self {
        for (at, (key, value)) in pairs.iter().enumerate() {
            let mark = if at == 0 { '?' } else { '&' };
            self.path.push_str(&format!("{mark}{key}={}", encoded(value)));
        }
        self
    }

    pub(super) fn sync(since: Option<&str>, hold: Duration, timeline: usize) -> Self {
        let filter = filter(&KINDS, timeline, since.is_none());
        let (hold, filter) = (hold.as_millis().to_string(), filter.to_string());
        let mut query = vec![("timeout", hold.as_str()), ("filter", filter.as_str())];
        query.extend(since.map(|since| ("since", since)));
        Self::get(&["sync"]).query(&query)
    }

    /// How all rooms stand, without what was said.
    pub(super) fn standing(hold: Duration) -> Self {
        let filter = filter(&["m.room.encryption", "m.room.tombstone"], 1, true);
        let (hold, filter) = (hold.as_millis().to_string(), filter.to_string());
        Self::get(&["sync"]).query(&[("timeout", &hold), ("filter", &filter)])
    }

    pub(super) fn upload(name: &str, content: Bytes) -> Self {
        let call = Self::at(Method::POST, &[]).query(&[("filename", name)]);
        let path = call.path.replacen(CLIENT, "/_matrix/media/v3/upload", 1);
        Self { path, content_type: "text/plain", body: content, ..call }
    }

    /// A state that has an empty key, and needs the slash before it.
    pub(super) fn state(room: &RoomId, kind: &str) -> Self {
        Self::get(&["rooms", room.as_str(), "state", kind, ""])
    }

    pub(super) fn messages(room: &RoomId, from: &str, to: &str) -> Self {
        let filter = json!({ "types": KINDS }).to_string();
        let query = [("dir", "f"), ("from", from), ("to", to), ("limit", PAGE), ("filter", &filter)];
        Self::get(&["rooms", room.as_str(), "messages"]).query(&query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_changes_the_path_it_is_put_into() {
        let room: RoomId = "!a?b#c%2F..:x".parse().unwrap();
        let segments = ["rooms", room.as_str(), "send", "m.room.message", "t/../1"];
        let call = Call::at(Method::PUT, &segments).json(&json!({ "body": "ä" }));
        assert_eq!(
            call.path,
            "/_matrix/client/v3/rooms/%21a%3Fb%23c%252F..%3Ax/send/m.room.message/t%2F..%2F1"
        );
        assert_eq!(call.body, Bytes::from(r#"{"body":"ä"}"#));
    }

    #[test]
    fn only_what_is_looked_at_is_asked_for() {
        let call = Call::sync(Some("s1_2&x"), Duration::from_secs(30), TIMELINE);
        assert!(call.path.starts_with("/_matrix/client/v3/sync?timeout=30000&filter=%7B"), "{}", call.path);
        assert!(call.path.ends_with("&since=s1_2%26x"), "{}", call.path);
        assert!(!Call::sync(None, Duration::ZERO, 1).path.contains("since"));
    }

    #[test]
    fn a_state_without_a_key_is_asked_for_with_its_slash() {
        let room: RoomId = "!a".parse().unwrap();
        assert!(Call::state(&room, "m.room.encryption").path.ends_with("/state/m.room.encryption/"));
        assert_eq!(Call::upload("ä.txt", Bytes::new()).path, "/_matrix/media/v3/upload?filename=%C3%A4.txt");
    }
}
