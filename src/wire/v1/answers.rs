//! Answers to requests.

use std::borrow::Cow;
use std::collections::HashMap;

use connector_contract::ask::{PermissionAsk, Question, QuestionAsk, ToolCall};
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::messages::{self, RawMessage};
use crate::ids::SessionId;
use crate::model::ModelRef;
use crate::output::FileChange;
use crate::wire::read::{undecodable, whole};
use crate::wire::text::Text;
use crate::wire::words;
use crate::wire::{Answer, Changes, Failure, Pending, SessionFacts, Status, Undecodable, UnparseableAsk};

#[derive(Deserialize)]
struct RawSession {
    id: String,
    #[serde(default)]
    directory: Option<String>,
    #[serde(default)]
    permission: Option<Vec<Value>>,
    #[serde(default)]
    model: Option<RawModel>,
    #[serde(rename = "projectID", default)]
    project: Option<String>,
    #[serde(default)]
    time: Option<RawTime>,
}

#[derive(Deserialize)]
struct RawTime {
    #[serde(default)]
    created: Option<f64>,
}

/// A session's model has another shape than a prompt's.
#[derive(Deserialize)]
struct RawModel {
    id: String,
    #[serde(rename = "providerID")]
    provider: String,
}

pub(super) fn session(body: &[u8]) -> Result<SessionFacts, Undecodable> {
    const WHAT: &str = "the session";
    let raw: RawSession = serde_json::from_slice(body).map_err(undecodable(WHAT))?;
    let id = SessionId::parse(&raw.id)
        .map_err(|error| Undecodable { what: WHAT, why: format!("its id is {error}") })?;
    let held = |raw: Value| crate::wire::HeldRule { rule: serde_json::from_value(raw.clone()).ok(), raw };
    let rules = raw.permission.unwrap_or_default().into_iter().map(held).collect();
    let model = raw.model.and_then(|it| format!("{}/{}", it.provider, it.id).parse().ok());
    let created = raw.time.and_then(|time| time.created).map(whole);
    Ok(SessionFacts {
        id,
        directory: raw.directory,
        created,
        rules,
        model,
        agent: None,
        project: raw.project,
    })
}

pub(super) fn default_model(body: &[u8]) -> Option<ModelRef> {
    #[derive(Deserialize)]
    struct Config {
        model: String,
    }
    serde_json::from_slice::<Config>(body).ok()?.model.parse().ok()
}

/// Reads the answer to a prompt. What is not the daemon's is never a success.
pub(super) fn prompt(status: StatusCode, body: &[u8]) -> Answer {
    if status != StatusCode::OK {
        return Answer::Refused { status: status.as_u16(), failure: failure(body) };
    }
    let text = body.trim_ascii();
    if text.is_empty() {
        return Answer::Odd("an empty answer");
    }
    if text[0] == b'<' {
        return Answer::Odd("a web page");
    }
    match serde_json::from_slice::<RawMessage<'_>>(text).ok().and_then(|raw| messages::message(&raw).ok()) {
        Some(message) => Answer::Message(Box::new(message)),
        None => Answer::Odd("an answer in another shape"),
    }
}

pub(super) fn failure(body: &[u8]) -> Option<Failure> {
    let text = std::str::from_utf8(body).ok()?;
    if text.trim_start().starts_with('{') { messages::failure(text) } else { None }
}

#[derive(Deserialize)]
pub(super) struct RawStatus<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default)]
    attempt: Option<u64>,
    #[serde(borrow, default)]
    message: Option<Text<'a>>,
    #[serde(default)]
    next: Option<f64>,
}

impl RawStatus<'_> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds; saturates")]
    pub(super) fn read(self) -> Status {
        match self.kind.as_ref() {
            "idle" => Status::Idle,
            "retry" => Status::Retry {
                attempt: self.attempt.unwrap_or(1),
                reason: self.message.map_or_else(String::new, |text| words::of_retry(&text)),
                next_at_ms: self.next.map(|at| at as u64),
            },
            _ => Status::Busy,
        }
    }
}

pub(super) fn status(body: &[u8], session: &SessionId) -> Result<Status, Undecodable> {
    let all: HashMap<Cow<'_, str>, &RawValue> =
        serde_json::from_slice(body).map_err(undecodable("the list of states"))?;
    let Some(raw) = all.get(session.as_str()) else { return Ok(Status::Idle) };
    let raw: RawStatus<'_> = serde_json::from_str(raw.get()).map_err(undecodable("a session's state"))?;
    Ok(raw.read())
}

#[derive(Deserialize)]
struct RawChange {
    file: String,
    #[serde(default)]
    patch: Option<String>,
    #[serde(default)]
    additions: Option<u64>,
    #[serde(default)]
    deletions: Option<u64>,
    #[serde(default)]
    status: Option<String>,
}

pub(super) fn changes(body: &[u8]) -> Result<Changes, Undecodable> {
    let raw: Vec<RawChange> = serde_json::from_slice(body).map_err(undecodable("the list of changes"))?;
    let mut changes = Changes::default();
    for change in raw {
        if let Some(patch) = change.patch {
            changes.patch.push_str(&patch);
            if !patch.is_empty() && !patch.ends_with('\n') {
                changes.patch.push('\n');
            }
        }
        changes.files.push(FileChange {
            path: change.file,
            additions: change.additions,
            deletions: change.deletions,
            status: change.status.unwrap_or_else(|| "modified".to_owned()),
        });
    }
    Ok(changes)
}

pub(super) fn children(body: &[u8]) -> Result<Vec<String>, Undecodable> {
    #[derive(Deserialize)]
    struct Child {
        id: String,
    }
    let list: Vec<Child> = serde_json::from_slice(body).map_err(undecodable("the list of child sessions"))?;
    Ok(list.into_iter().map(|child| child.id).collect())
}

#[derive(Deserialize)]
pub(super) struct RawPermission {
    id: String,
    #[serde(rename = "sessionID")]
    session: String,
    permission: String,
    #[serde(default)]
    patterns: Vec<String>,
    #[serde(default)]
    metadata: Value,
    #[serde(default)]
    tool: Option<RawCall>,
}

#[derive(Deserialize)]
struct RawCall {
    #[serde(rename = "messageID")]
    message: String,
    #[serde(rename = "callID")]
    call: String,
}

impl From<RawPermission> for PermissionAsk {
    fn from(raw: RawPermission) -> Self {
        Self {
            id: raw.id,
            session_id: raw.session,
            permission: raw.permission,
            patterns: raw.patterns,
            metadata: raw.metadata,
            call: raw.tool.map(|it| {
                Box::new(ToolCall { message_id: it.message, call_id: it.call, input: Value::Null })
            }),
        }
    }
}

/// What the tool of `call` was called with; `None` while the record does not have it.
pub(super) fn tool_input(body: &[u8], call: &str) -> Result<Option<Value>, Undecodable> {
    #[derive(Deserialize)]
    struct Message {
        parts: Vec<Value>,
    }
    let message: Message = serde_json::from_slice(body).map_err(undecodable("a message"))?;
    let part = message.parts.iter().find(|part| part["callID"] == call);
    let state = part.map(|part| &part["state"]).filter(|state| state["status"] != "pending");
    Ok(state.map(|state| state["input"].clone()))
}

#[derive(Deserialize)]
pub(super) struct RawQuestions {
    id: String,
    #[serde(rename = "sessionID")]
    session: String,
    questions: Vec<Question>,
}

impl From<RawQuestions> for QuestionAsk {
    fn from(raw: RawQuestions) -> Self {
        Self { id: raw.id, session_id: raw.session, questions: raw.questions }
    }
}

/// Asks that cannot be read do not hide the others.
fn asks<'a, Raw: Deserialize<'a>, Ask: From<Raw>>(
    body: &'a [u8],
    what: &'static str,
) -> Result<Pending<Ask>, Undecodable> {
    #[derive(Deserialize)]
    struct Whose {
        id: String,
        #[serde(rename = "sessionID")]
        session: String,
    }
    let list: Vec<&RawValue> = serde_json::from_slice(body).map_err(undecodable(what))?;
    let mut pending = Pending { asks: Vec::new(), unparseable: Vec::new() };
    for raw in list {
        if let Ok(ask) = serde_json::from_str::<Raw>(raw.get()) {
            pending.asks.push(Ask::from(ask));
        } else if let Ok(Whose { id, session }) = serde_json::from_str(raw.get()) {
            pending.unparseable.push(UnparseableAsk { id, session });
        }
    }
    Ok(pending)
}

pub(super) fn permissions(body: &[u8]) -> Result<Pending<PermissionAsk>, Undecodable> {
    asks::<RawPermission, _>(body, "the list of permission requests")
}

pub(super) fn questions(body: &[u8]) -> Result<Pending<QuestionAsk>, Undecodable> {
    asks::<RawQuestions, _>(body, "the list of questions")
}
