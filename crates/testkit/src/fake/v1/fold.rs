//! What the events of 1.x say of their sessions.

use serde_json::Value;

use crate::fake::fixture::text;
use crate::fake::state::{Message, Session, State};

/// Folds an event into what the fake knows, and returns it as it is told.
pub(in crate::fake) fn commit(state: &mut State, event: &Value) -> Value {
    state.apply(event);
    event.clone()
}

impl State {
    fn apply(&mut self, event: &Value) {
        let properties = &event["properties"];
        let session = text(&properties["sessionID"]);
        match event["type"].as_str().unwrap_or_default() {
            "message.updated" => {
                let info = &properties["info"];
                self.message(&session, &text(&info["id"])).info = info.clone();
            }
            "message.part.updated" => {
                let part = &properties["part"];
                let parts = &mut self.message(&session, &text(&part["messageID"])).parts;
                match parts.iter_mut().find(|it| it["id"] == part["id"]) {
                    Some(known) => *known = part.clone(),
                    None => parts.push(part.clone()),
                }
            }
            "session.status" => {
                let status = &properties["status"];
                let known = (status["type"] != "idle").then(|| status.clone());
                self.session(&session).status = known;
            }
            "session.idle" => self.session(&session).status = None,
            "permission.asked" => self.permissions.push(properties.clone()),
            "question.asked" => self.questions.push(properties.clone()),
            "session.created" | "fake.child" => {
                let parent = text(&properties["info"]["parentID"]);
                self.session(&parent).children.push(properties["info"].clone());
            }
            _ => {}
        }
    }

    pub(in crate::fake) fn session(&mut self, id: &str) -> &mut Session {
        self.sessions.entry(id.to_owned()).or_default()
    }

    fn message(&mut self, session: &str, id: &str) -> &mut Message {
        self.session(session).messages.entry(id.to_owned()).or_default()
    }
}
