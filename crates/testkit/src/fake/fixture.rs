//! Recorded turns, and how they are changed into others.

use std::collections::HashMap;

use serde_json::{Value, json};

/// A recorded turn: its events and the answer to its prompt.
#[derive(Debug, Clone)]
pub struct Fixture {
    pub(super) name: String,
    pub(super) events: Vec<Value>,
    pub(super) answer: Value,
    pub(super) session: String,
    pub(super) message: String,
    pub(super) changes: Value,
}

macro_rules! recorded {
    ($($name:literal),* $(,)?) => {
        /// The recorded turns: name, events, requests and answers.
        const RECORDED: &[(&str, &str, &str)] = &[$((
            $name,
            include_str!(concat!("../../../../tests/fixtures/wire/1.18.33/", $name, ".sse")),
            include_str!(concat!("../../../../tests/fixtures/wire/1.18.33/", $name, ".json")),
        )),*];
    };
}

recorded!(
    "text",
    "write",
    "bash",
    "permission-once",
    "permission-reject",
    "question",
    "abort",
    "provider-400",
    "provider-500-retry",
);

impl Fixture {
    /// The names of all recorded turns.
    pub fn names() -> impl Iterator<Item = &'static str> {
        RECORDED.iter().map(|(name, ..)| *name)
    }

    /// A recorded turn.
    ///
    /// # Panics
    ///
    /// If there is none of that name.
    #[expect(clippy::panic, reason = "a test names a recording that is there")]
    pub fn recorded(name: &str) -> Self {
        let Some((_, events, exchange)) = RECORDED.iter().find(|it| it.0 == name) else {
            panic!("no recorded turn `{name}`");
        };
        let events: Vec<Value> = events
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter_map(|data| serde_json::from_str(data).ok())
            .filter(|event: &Value| {
                let kind = event["type"].as_str().unwrap_or_default();
                !matches!(kind, "server.connected" | "server.heartbeat" | "session.created")
            })
            .collect();
        let exchange: Vec<Value> = serde_json::from_str(exchange).unwrap_or_default();
        let answer = exchange
            .iter()
            .find(|it| it["request"].as_str().is_some_and(|line| line.ends_with("/message")))
            .map_or(Value::Null, |it| it["response"].clone());
        let session = text(&answer["info"]["sessionID"]);
        let message = text(&answer["info"]["parentID"]);
        Self { name: name.to_owned(), events, answer, session, message, changes: json!([]) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many events it plays.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether it plays none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Its events as they travel.
    pub fn stream(&self) -> Vec<u8> {
        self.events.iter().flat_map(|event| format!("data: {event}\n\n").into_bytes()).collect()
    }

    /// The answer to its prompt.
    pub fn answer(&self) -> &Value {
        &self.answer
    }

    /// The agent's text in its answer.
    pub fn reply(&self) -> String {
        let parts = self.answer["parts"].as_array().into_iter().flatten();
        parts
            .filter(|part| part["type"] == "text")
            .map(|part| text(&part["text"]))
            .collect::<String>()
            .trim()
            .to_owned()
    }

    /// The same with every event changed.
    #[must_use]
    pub fn edited(mut self, mut change: impl FnMut(&mut Value)) -> Self {
        self.events.iter_mut().for_each(&mut change);
        self
    }

    /// The same with events put before the event of that number.
    #[must_use]
    pub fn with(mut self, at: usize, events: impl IntoIterator<Item = Value>) -> Self {
        self.events.splice(at..at, events);
        self
    }

    /// The same with these file changes.
    #[must_use]
    pub fn changing(mut self, changes: Value) -> Self {
        self.changes = changes;
        self
    }

    /// The same with so many pieces of text before the last whole one.
    #[must_use]
    pub fn with_deltas(self, count: usize) -> Self {
        let at = self.events.iter().rposition(|event| event["type"] == "message.part.delta").unwrap_or(0);
        let delta = self.events[at].clone();
        self.with(at, std::iter::repeat_n(delta, count))
    }

    /// `permission-once`, asked by a sub-agent: a child session that is
    /// `announced` by an event, or found in the list of children alone.
    pub fn child_ask(announced: bool) -> Self {
        const CHILD: &str = "ses_00000000000000child0000000";
        let mut fixture = Self::recorded("permission-once");
        let parent = fixture.session.clone();
        let at = fixture.events.iter().position(|it| it["type"] == "permission.asked").unwrap_or(0);
        for event in &mut fixture.events {
            if event["type"].as_str().is_some_and(|kind| kind.starts_with("permission.")) {
                event["properties"]["sessionID"] = json!(CHILD);
            }
        }
        let kind = if announced { "session.created" } else { "fake.child" };
        let info = json!({ "id": CHILD, "parentID": parent, "title": "look around (@explore subagent)" });
        fixture.name = format!("child-ask{}", if announced { "" } else { "-unannounced" });
        fixture.with(at, [json!({ "type": kind, "properties": { "sessionID": CHILD, "info": info } })])
    }

    /// The same turn in another session, begun by another message. Ids keep
    /// their order and sort after the message's.
    pub(super) fn rewritten(&self, session: &str, message: &str) -> Self {
        let stamp = message.get(4..16).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(1);
        let mut ids = Ids { known: HashMap::new(), stamp, tail: tail(message) };
        ids.known.insert(self.session.clone(), session.to_owned());
        ids.known.insert(self.message.clone(), message.to_owned());
        let mut copy = self.clone();
        copy.events.iter_mut().for_each(|event| ids.rewrite(event));
        ids.rewrite(&mut copy.answer);
        session.clone_into(&mut copy.session);
        message.clone_into(&mut copy.message);
        copy
    }
}

struct Ids {
    known: HashMap<String, String>,
    stamp: u64,
    tail: String,
}

impl Ids {
    fn rewrite(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(id) = self.replacement(text) {
                    *text = id;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.rewrite(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.rewrite(field)),
            _ => {}
        }
    }

    fn replacement(&mut self, text: &str) -> Option<String> {
        if let Some(known) = self.known.get(text) {
            return Some(known.clone());
        }
        let prefix = text.get(..4)?;
        if text.len() != 30 || !matches!(prefix, "msg_" | "prt_" | "per_" | "que_" | "evt_") {
            return None;
        }
        self.stamp += 1;
        let id = format!("{prefix}{:012x}{}", self.stamp & 0xffff_ffff_ffff, self.tail);
        self.known.insert(text.to_owned(), id.clone());
        Some(id)
    }
}

fn tail(id: &str) -> String {
    id.get(16..).filter(|tail| tail.len() == 14).unwrap_or("00000000000000").to_owned()
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
