//! Requests, as values.

use bytes::Bytes;
use connector_contract::Origin;
use connector_contract::ask::{PermissionReply, QuestionReply};
use http::{Method, Request};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::messages;
use crate::files::Attached;
use crate::ids::{FormId, MessageId, PermissionId, SessionId};
use crate::model::ModelRef;
use crate::permissions::WireRule;
use crate::wire::read::rejection;
use crate::wire::{Asked, Base, NewSession, Prompt, SessionFacts};

/// The key of what the agent is told about its task beside the prompt.
const NOTE: &str = "origin";
/// What stands there for a task that has no note, where an entry cannot be taken away.
const NO_NOTE: &str = "Nothing is said of where the newest task came from.";
/// How many rows of a session's record are asked for first.
const FIRST_PAGE: &str = "60";
/// More than this is not given at once.
const PAGE: &str = "200";

/// What every request to one daemon carries.
pub(super) struct Requests {
    base: Base,
    directory: Option<String>,
}

impl Requests {
    pub(super) fn new(origin: &Origin, password: Option<&SecretString>, directory: Option<&str>) -> Self {
        Self { base: Base::new(origin, password), directory: directory.map(str::to_owned) }
    }

    pub(super) fn get(&self, path: &str) -> Request<Bytes> {
        self.get_with(path, &[])
    }

    fn get_with(&self, path: &str, pairs: &[(&str, &str)]) -> Request<Bytes> {
        self.base.request(Method::GET, path, pairs, None)
    }

    fn post(&self, path: &str, body: &Value) -> Request<Bytes> {
        self.base.request(Method::POST, path, &[], Some(body))
    }

    /// The directory is taken from the body alone.
    pub(super) fn create_session(&self, new: &NewSession<'_>) -> Request<Bytes> {
        let mut body = Map::new();
        if let Some(title) = new.title {
            body.insert("title".into(), json!(title));
        }
        if let Some(agent) = new.agent {
            body.insert("agent".into(), json!(agent));
        }
        if let Some(model) = new.model {
            body.insert("model".into(), model_value(model));
        }
        if let Some(directory) = &self.directory {
            body.insert("location".into(), json!({ "directory": directory }));
        }
        if !new.rules.is_empty() {
            body.insert("permissions".into(), rules_value(new.rules));
        }
        self.post("/api/session", &Value::Object(body))
    }

    /// What is sent replaces what is there, which is sent again as it was, whether it
    /// can be read or not.
    pub(super) fn set_rules(&self, session: &SessionFacts, rules: &[WireRule]) -> Request<Bytes> {
        let all: Vec<Value> =
            session.rules.iter().map(|held| held.raw.clone()).chain(rules.iter().map(rule_value)).collect();
        let path = format!("/api/session/{}", session.id);
        self.base.request(Method::PATCH, &path, &[], Some(&json!({ "permissions": all })))
    }

    pub(super) fn session_settings(&self, session: &SessionFacts, prompt: &Prompt) -> Vec<Request<Bytes>> {
        let path = |what: &str| format!("/api/session/{}/{what}", session.id);
        let model = prompt.model.as_ref().filter(|model| session.model.as_ref() != Some(model));
        let agent = prompt.agent.as_ref().filter(|agent| session.agent.as_ref() != Some(agent));
        let model = model.map(|model| self.post(&path("model"), &json!({ "model": model_value(model) })));
        let agent = agent.map(|agent| self.post(&path("agent"), &json!({ "agent": agent })));
        // The agent first: it may bring a model of its own.
        agent.into_iter().chain(model).collect()
    }

    /// A session keeps what it was told: an older one is to forget it, or is told
    /// something else.
    pub(super) fn origin_message(&self, prompt: &Prompt, new: bool) -> Vec<Request<Bytes>> {
        let path = format!("/api/experimental/session/{}/instructions/entries/{NOTE}", prompt.session);
        let put = |note: &str| self.base.request(Method::PUT, &path, &[], Some(&json!({ "value": note })));
        match &prompt.system {
            Some(note) => vec![put(note)],
            None if new => Vec::new(),
            None => vec![self.base.request(Method::DELETE, &path, &[], None), put(NO_NOTE)],
        }
    }

    pub(super) fn prompt(&self, prompt: &Prompt) -> Request<Bytes> {
        let mut body = json!({ "id": prompt.message.as_str(), "text": prompt.text, "delivery": "queue" });
        if !prompt.files.is_empty() {
            let file = |file: &Attached| json!({ "uri": file.url() });
            body["files"] = prompt.files.iter().map(file).collect();
        }
        self.post(&format!("/api/session/{}/prompt", prompt.session), &body)
    }

    /// It leaves what is queued.
    pub(super) fn abort(&self, session: &SessionId) -> Request<Bytes> {
        self.base.request(Method::POST, &format!("/api/session/{session}/interrupt"), &[], None)
    }

    pub(super) fn take_back(&self, session: &SessionId, message: &MessageId) -> Request<Bytes> {
        let inbox = format!("/api/session/{session}/inbox/{message}");
        self.base.request(Method::DELETE, &inbox, &[], None)
    }

    /// An order is given for the first page alone; a cursor knows it.
    pub(super) fn messages(
        &self,
        session: &SessionId,
        read: &[Bytes],
        ours: &MessageId,
    ) -> Option<Request<Bytes>> {
        let path = format!("/api/session/{session}/message");
        let Some(last) = read.last() else {
            return Some(self.get_with(&path, &[("order", "desc"), ("limit", FIRST_PAGE)]));
        };
        let cursor = messages::before(last, ours)?;
        Some(self.get_with(&path, &[("limit", PAGE), ("cursor", &cursor)]))
    }

    pub(super) fn log(&self, session: &SessionId) -> Request<Bytes> {
        self.get_with(&format!("/api/experimental/session/{session}/log"), &[("follow", "false")])
    }

    /// The default model of a location that is cold is none, then one of opencode's own
    /// choice, then the configured: only the configuration tells.
    pub(super) fn config(&self) -> Request<Bytes> {
        self.of_location("/api/config")
    }

    pub(super) fn agents(&self) -> Request<Bytes> {
        self.of_location("/api/agent")
    }

    pub(super) fn location(&self) -> Request<Bytes> {
        self.of_location("/api/location")
    }

    pub(super) fn saved(&self, project: &str) -> Request<Bytes> {
        self.get_with("/api/permission/saved", &[("projectID", project)])
    }

    fn of_location(&self, path: &str) -> Request<Bytes> {
        match &self.directory {
            Some(directory) => self.get_with(path, &[("location[directory]", directory)]),
            None => self.get(path),
        }
    }

    pub(super) fn changes(&self, session: &SessionId, message: &MessageId) -> Request<Bytes> {
        self.get_with(
            &format!("/api/session/{session}/diff"),
            &[("from", message.as_str()), ("context", "3")],
        )
    }

    pub(super) fn children(&self, session: &str) -> Request<Bytes> {
        self.get_with("/api/session", &[("parentID", session), ("limit", PAGE)])
    }

    /// One request for each session; what is no session's id has none.
    pub(super) fn each(&self, sessions: &[String], what: &str) -> Vec<Request<Bytes>> {
        let ids = sessions.iter().filter_map(|session| SessionId::parse(session).ok());
        ids.map(|session| self.get(&format!("/api/session/{session}/{what}"))).collect()
    }

    pub(super) fn reply_permission(&self, ask: &Asked, reply: &PermissionReply) -> Option<Request<Bytes>> {
        let (session, id) = (SessionId::parse(&ask.session).ok()?, PermissionId::parse(&ask.id).ok()?);
        let body = match reply {
            PermissionReply::Once | PermissionReply::Always => json!({ "decision": "once" }),
            PermissionReply::Reject { message } => {
                json!({ "decision": "reject", "message": rejection(message) })
            }
        };
        Some(self.post(&format!("/api/session/{session}/permission/{id}/reply"), &body))
    }

    pub(super) fn reply_question(&self, ask: &Asked, reply: &QuestionReply) -> Option<Request<Bytes>> {
        let (session, id) = (SessionId::parse(&ask.session).ok()?, FormId::parse(&ask.id).ok()?);
        let form = format!("/api/session/{session}/form/{id}");
        Some(match reply {
            QuestionReply::Answers { answers } => {
                let answer = answer_value(answers, &ask.multiple);
                self.post(&format!("{form}/reply"), &json!({ "answer": answer }))
            }
            QuestionReply::Reject => {
                let pairs = [("message", "nobody answers this; go on without it")];
                self.base.request(Method::DELETE, &form, &pairs, None)
            }
        })
    }
}

/// Only a field that takes several values gets a list. What nobody answered is left
/// out.
fn answer_value(answers: &[Vec<String>], multiple: &[bool]) -> Value {
    let mut answer = Map::new();
    for (index, labels) in answers.iter().enumerate() {
        let several = multiple.get(index).copied().unwrap_or(false);
        if several {
            answer.insert(format!("q{index}"), json!(labels));
        } else if !labels.is_empty() {
            answer.insert(format!("q{index}"), json!(labels.join(", ")));
        }
    }
    Value::Object(answer)
}

fn model_value(model: &ModelRef) -> Value {
    json!({ "id": model.model, "providerID": model.provider })
}

fn rules_value(rules: &[WireRule]) -> Value {
    rules.iter().map(rule_value).collect()
}

fn rule_value(rule: &WireRule) -> Value {
    json!({ "action": rule.permission, "resource": rule.pattern, "effect": rule.action })
}
