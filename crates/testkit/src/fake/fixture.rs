//! Turns as events, and how they are changed into others.

mod ids;

use serde_json::{Value, json};

use super::generation::Generation;
use ids::Ids;

/// A turn: its events and, on 1.x, the answer to its prompt. Those of 1.x were
/// recorded from a real daemon; those of 2.x are written from its description.
#[derive(Debug, Clone)]
pub struct Fixture {
    pub(super) generation: Generation,
    pub(super) name: String,
    pub(super) events: Vec<Value>,
    pub(super) answer: Value,
    pub(super) session: String,
    pub(super) message: String,
    pub(super) changes: Value,
}

macro_rules! recorded {
    ($($name:literal),* $(,)?) => {
        /// The turns of 1.x: name, events, requests and answers.
        const V1: &[(&str, &str, &str)] = &[$((
            $name,
            include_str!(concat!("../../../../tests/fixtures/wire/1.18.33/", $name, ".sse")),
            include_str!(concat!("../../../../tests/fixtures/wire/1.18.33/", $name, ".json")),
        )),*];
    };
}

macro_rules! written {
    ($($name:literal),* $(,)?) => {
        /// The turns of 2.x: name, events.
        const V2: &[(&str, &str)] = &[$((
            $name,
            include_str!(concat!("../../../../tests/fixtures/wire2/", $name, ".sse")),
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

written!(
    "text",
    "write",
    "bash",
    "permission-once",
    "permission-reject",
    "permission-reject-silent",
    "question",
    "abort",
    "provider-400",
    "provider-500-retry",
    "no-step",
);

impl Fixture {
    /// The names of all recorded turns of 1.x.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::names_of(Generation::V1)
    }

    /// The names of all turns of a generation.
    pub fn names_of(generation: Generation) -> impl Iterator<Item = &'static str> {
        let names: Vec<_> = match generation {
            Generation::V1 => V1.iter().map(|it| it.0).collect(),
            Generation::V2 => V2.iter().map(|it| it.0).collect(),
        };
        names.into_iter()
    }

    /// A recorded turn of 1.x.
    ///
    /// # Panics
    ///
    /// If there is none of that name.
    pub fn recorded(name: &str) -> Self {
        Self::of(Generation::V1, name)
    }

    /// A turn of a generation.
    ///
    /// # Panics
    ///
    /// If there is none of that name.
    #[expect(clippy::panic, reason = "a test names a turn that is there")]
    pub fn of(generation: Generation, name: &str) -> Self {
        let (events, exchange) = match generation {
            Generation::V1 => V1.iter().find(|it| it.0 == name).map(|it| (it.1, it.2)),
            Generation::V2 => V2.iter().find(|it| it.0 == name).map(|it| (it.1, "[]")),
        }
        .unwrap_or_else(|| panic!("no turn `{name}` of {generation:?}"));
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
        let (session, message) = match generation {
            Generation::V1 => (text(&answer["info"]["sessionID"]), text(&answer["info"]["parentID"])),
            Generation::V2 => (text(&events[0]["data"]["sessionID"]), text(&events[0]["data"]["inboxID"])),
        };
        Self { generation, name: name.to_owned(), events, answer, session, message, changes: json!([]) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose API it is a turn of.
    pub fn generation(&self) -> Generation {
        self.generation
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

    /// The answer to its prompt. On 2.x there is none: a prompt is only admitted.
    pub fn answer(&self) -> &Value {
        &self.answer
    }

    /// The agent's last text.
    pub fn reply(&self) -> String {
        let said = match self.generation {
            Generation::V1 => {
                let parts = self.answer["parts"].as_array().into_iter().flatten();
                parts.filter(|part| part["type"] == "text").map(|part| text(&part["text"])).collect()
            }
            Generation::V2 => {
                let last = self.events.iter().rfind(|it| it["type"] == "session.step.started");
                let last = last.map_or(&Value::Null, |it| &it["data"]["assistantMessageID"]);
                let texts = self.events.iter().filter(|it| it["type"] == "session.text.ended");
                texts
                    .filter(|it| &it["data"]["assistantMessageID"] == last)
                    .map(|it| text(&it["data"]["text"]))
                    .collect::<String>()
            }
        };
        said.trim().to_owned()
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
        let kind = match self.generation {
            Generation::V1 => "message.part.delta",
            Generation::V2 => "session.text.delta",
        };
        let at = self.events.iter().rposition(|event| event["type"] == kind).unwrap_or(0);
        let delta = self.events[at].clone();
        self.with(at, std::iter::repeat_n(delta, count))
    }

    /// The same with so many more steps of 2.x after the first, each without a word.
    #[must_use]
    pub fn with_steps(self, count: usize) -> Self {
        let kind = |event: &Value| text(&event["type"]);
        let place = |wanted: &str| self.events.iter().position(|it| kind(it) == wanted).unwrap_or(0);
        let (started, ended) = (place("session.step.started"), place("session.step.ended"));
        let first = text(&self.events[started]["data"]["assistantMessageID"]);
        let step = |number: usize| {
            let id = format!("{}{:04x}{}", &first[..12], 0xa007 + number, &first[16..]);
            [started, ended].map(|at| {
                let mut event = self.events[at].clone();
                event["data"]["assistantMessageID"] = json!(id);
                event
            })
        };
        let more: Vec<Value> = (0..count).flat_map(step).collect();
        self.with(ended + 1, more)
    }

    /// `permission-once` of 1.x, asked by a sub-agent.
    pub fn child_ask(announced: bool) -> Self {
        Self::child_ask_of(Generation::V1, announced)
    }

    /// `permission-once`, asked by a sub-agent: a child session that is
    /// `announced` by an event, or found in the list of children alone.
    pub fn child_ask_of(generation: Generation, announced: bool) -> Self {
        const CHILD: &str = "ses_00000000000000child0000000";
        let mut fixture = Self::of(generation, "permission-once");
        let parent = fixture.session.clone();
        let at = fixture.events.iter().position(|it| it["type"] == "permission.asked").unwrap_or(0);
        let body = body_key(generation);
        for event in &mut fixture.events {
            if event["type"].as_str().is_some_and(|kind| kind.starts_with("permission.")) {
                event[body]["sessionID"] = json!(CHILD);
            }
            // Its call is in a record of the child's own, which no recording has.
            if event["type"] == "permission.asked" {
                event[body]["metadata"] = json!({ "command": "echo hi > out.txt; ls" });
                event[body].as_object_mut().map(|ask| (ask.remove("tool"), ask.remove("source")));
            }
        }
        let kind = if announced { "session.created" } else { "fake.child" };
        let title = "look around (@explore subagent)";
        let child = match generation {
            Generation::V1 => {
                let info = json!({ "id": CHILD, "parentID": parent, "title": title });
                json!({ "sessionID": CHILD, "info": info })
            }
            Generation::V2 => json!({
                "sessionID": CHILD, "parentID": parent, "title": title, "projectID": "global",
                "location": { "directory": "/code/app" }, "version": "2.0.22",
            }),
        };
        fixture.name = format!("child-ask{}", if announced { "" } else { "-unannounced" });
        fixture.with(at, [json!({ "type": kind, body: child })])
    }

    /// `write`, whose last message has a part that nobody knows. The record tells
    /// of it; on 2.x no event does.
    pub fn hologram(generation: Generation) -> Self {
        let fixture = Self::of(generation, "write");
        let at = fixture.len() - 1;
        let part = match generation {
            Generation::V1 => {
                let last = &fixture.answer["info"];
                let part =
                    json!({ "id": "prt_0", "messageID": last["id"], "type": { "hologram": 1 }, "text": 7 });
                json!({
                    "type": "message.part.updated",
                    "properties": { "sessionID": last["sessionID"], "part": part },
                })
            }
            Generation::V2 => json!({
                "type": "fake.content",
                "data": { "sessionID": fixture.session, "content": { "type": { "hologram": 1 }, "text": 7 } },
            }),
        };
        fixture.with(at, [part])
    }

    /// The id of an event that follows all of the turn's.
    pub(super) fn late_event(&self, number: u64) -> String {
        ids::late("evt_", &self.message, number)
    }

    /// The same turn in another session, begun by another message.
    pub(super) fn rewritten(&self, session: &str, message: &str) -> Self {
        if self.session == session && self.message == message {
            return self.clone();
        }
        let mut ids = Ids::after(message);
        ids.put(&self.session, session);
        ids.put(&self.message, message);
        let mut copy = self.clone();
        copy.events.iter_mut().for_each(|event| ids.rewrite(event));
        ids.rewrite(&mut copy.answer);
        session.clone_into(&mut copy.session);
        message.clone_into(&mut copy.message);
        copy
    }
}

/// Where an event of a generation keeps what it tells.
pub(super) fn body_key(generation: Generation) -> &'static str {
    match generation {
        Generation::V1 => "properties",
        Generation::V2 => "data",
    }
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
