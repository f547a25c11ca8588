//! One event, as every server sends it.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::id::{EventId, UserId};

/// An event whose envelope is as it should be.
#[derive(Debug, Deserialize)]
pub struct Event {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(rename = "event_id")]
    pub(crate) id: EventId,
    pub(crate) sender: UserId,
    #[serde(rename = "origin_server_ts", default)]
    pub(crate) at: i64,
    pub(crate) content: Map<String, Value>,
    pub(crate) state_key: Option<String>,
    #[serde(default)]
    unsigned: Unsigned,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Unsigned {
    /// What a state said before, where the server says.
    prev_content: Option<Before>,
}

#[derive(Debug, Deserialize)]
struct Before {
    membership: Option<String>,
}

impl Event {
    /// Reads an event; nothing of one that is not as it should be.
    pub fn read(raw: &RawValue) -> Option<Self> {
        serde_json::from_str(raw.get()).ok()
    }

    /// A text of its content.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.content.get(key).and_then(Value::as_str)
    }

    /// Whether it sets a state that has an empty key.
    pub(super) fn is_state(&self, kind: &str) -> bool {
        self.kind == kind && self.state_key.as_deref() == Some("")
    }

    /// Whether this user comes in by it, and not only changes their name.
    pub(super) fn is_join_of(&self, user: &UserId) -> bool {
        let before = self.unsigned.prev_content.as_ref().and_then(|before| before.membership.as_deref());
        let is_about = self.kind == "m.room.member" && self.state_key.as_deref() == Some(user.as_str());
        is_about && self.text("membership") == Some("join") && before != Some("join")
    }

    /// What it says about another event: how, and about which.
    pub(super) fn relation(&self) -> Option<(String, EventId)> {
        let relation = self.content.get("m.relates_to")?;
        Some((relation["rel_type"].as_str()?.to_owned(), relation["event_id"].as_str()?.parse().ok()?))
    }

    /// Whether it changes another.
    pub(crate) fn replaces(&self) -> bool {
        self.relation().is_some_and(|(kind, _)| kind == "m.replace")
    }

    /// The event that its thread hangs on.
    pub(crate) fn thread(&self) -> Option<EventId> {
        self.relation().filter(|(kind, _)| kind == "m.thread").map(|(_, root)| root)
    }

    /// The event that it answers. In a thread, for clients that know none, each answers the last.
    pub(crate) fn answers(&self) -> Option<EventId> {
        let relation = self.content.get("m.relates_to")?;
        let answered = relation["m.in_reply_to"]["event_id"].as_str()?;
        let for_others = relation["rel_type"] == "m.thread" && relation["is_falling_back"] == true;
        if for_others { None } else { answered.parse().ok() }
    }
}
