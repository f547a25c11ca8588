//! Answers to requests. Most are wrapped in `{data}`.

use std::collections::HashMap;

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::failure;
use super::number::Number;
use crate::ids::{MessageId, SessionId};
use crate::model::ModelRef;
use crate::output::FileChange;
use crate::permissions::{Action, WireRule};
use crate::wire::read::undecodable;
use crate::wire::{Answer, Changes, HeldRule, Inbox, SessionFacts, Status, Undecodable};

/// `{data: …}`, whatever stands beside it.
#[derive(Deserialize)]
pub(super) struct Wrapped<T> {
    pub(super) data: T,
}

pub(super) fn unwrap<'a, T: Deserialize<'a>>(body: &'a [u8], what: &'static str) -> Result<T, Undecodable> {
    Ok(serde_json::from_slice::<Wrapped<T>>(body).map_err(undecodable(what))?.data)
}

/// A model as sessions and messages have it.
#[derive(Deserialize)]
pub(super) struct RawModel {
    id: String,
    #[serde(rename = "providerID")]
    provider: String,
}

impl RawModel {
    pub(super) fn read(self) -> Option<ModelRef> {
        format!("{}/{}", self.provider, self.id).parse().ok()
    }
}

pub(super) fn session(body: &[u8]) -> Result<SessionFacts, Undecodable> {
    #[derive(Deserialize)]
    struct Raw {
        id: String,
        #[serde(default)]
        location: Option<Location>,
        #[serde(default)]
        permissions: Option<Vec<Value>>,
        #[serde(default)]
        model: Option<Value>,
        #[serde(default)]
        agent: Option<String>,
        #[serde(rename = "projectID", default)]
        project: Option<String>,
        #[serde(default)]
        time: Option<Time>,
    }
    #[derive(Deserialize)]
    struct Location {
        #[serde(default)]
        directory: Option<String>,
    }
    #[derive(Deserialize)]
    struct Time {
        #[serde(default)]
        created: Option<Number>,
    }
    const WHAT: &str = "the session";
    let raw: Raw = unwrap(body, WHAT)?;
    let id = SessionId::parse(&raw.id)
        .map_err(|error| Undecodable { what: WHAT, why: format!("its id is {error}") })?;
    let model = raw.model.and_then(|model| serde_json::from_value::<RawModel>(model).ok());
    Ok(SessionFacts {
        id,
        directory: raw.location.and_then(|location| location.directory),
        created: raw.time.and_then(|time| time.created).map(Number::whole),
        rules: raw.permissions.unwrap_or_default().into_iter().map(held).collect(),
        model: model.and_then(RawModel::read),
        agent: raw.agent,
        project: raw.project,
    })
}

fn held(raw: Value) -> HeldRule {
    HeldRule { rule: rule(raw.clone()), raw }
}

pub(super) fn rule(value: Value) -> Option<WireRule> {
    #[derive(Deserialize)]
    struct Raw {
        action: String,
        resource: String,
        effect: Action,
    }
    let Raw { action, resource, effect } = serde_json::from_value(value).ok()?;
    Some(WireRule { permission: action, pattern: resource, action: effect })
}

/// Reads the answer to a prompt, which says that it was taken, under our id.
pub(super) fn prompt(status: StatusCode, body: &[u8], ours: &MessageId) -> Answer {
    #[derive(Deserialize)]
    struct Raw {
        id: String,
    }
    if !status.is_success() {
        return Answer::Refused { status: status.as_u16(), failure: failure::of_answer(body) };
    }
    match body.trim_ascii() {
        [] => Answer::Odd("an empty answer"),
        [b'<', ..] => Answer::Odd("a web page"),
        text => match unwrap::<Raw>(text, "the answer") {
            Ok(taken) if taken.id == ours.as_str() => Answer::Admitted,
            Ok(_) => Answer::Odd("an answer to another message"),
            Err(_) => Answer::Odd("an answer in another shape"),
        },
    }
}

/// Only sessions that work are listed.
pub(super) fn status(body: &[u8], session: &SessionId) -> Result<Status, Undecodable> {
    let all: HashMap<String, &RawValue> = unwrap(body, "the list of active sessions")?;
    Ok(if all.contains_key(session.as_str()) { Status::Busy } else { Status::Idle })
}

pub(super) fn inbox(body: &[u8], ours: &MessageId) -> Result<Inbox, Undecodable> {
    #[derive(Deserialize)]
    struct Raw {
        #[serde(default)]
        id: Option<String>,
    }
    let all: Vec<Raw> = unwrap(body, "the session's inbox")?;
    let is_ours = |item: &Raw| item.id.as_deref() == Some(ours.as_str());
    Ok(Inbox { ours: all.iter().any(is_ours), any: !all.is_empty() })
}

/// A directory that is not loaded yet has none at first.
pub(super) fn changes(body: &[u8]) -> Result<Changes, Undecodable> {
    #[derive(Deserialize)]
    struct Raw {
        file: String,
        #[serde(default)]
        patch: Option<String>,
        #[serde(default)]
        additions: Option<Number>,
        #[serde(default)]
        deletions: Option<Number>,
        #[serde(default)]
        status: Option<String>,
    }
    let raw: Vec<Raw> = unwrap(body, "the list of changes")?;
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
            additions: change.additions.map(Number::whole),
            deletions: change.deletions.map(Number::whole),
            status: change.status.unwrap_or_else(|| "modified".to_owned()),
        });
    }
    Ok(changes)
}

pub(super) fn children(body: &[u8]) -> Result<Vec<String>, Undecodable> {
    #[derive(Deserialize)]
    struct Raw {
        id: String,
    }
    let list: Vec<&RawValue> = unwrap(body, "the list of child sessions")?;
    let read = |raw: &RawValue| serde_json::from_str::<Raw>(raw.get()).ok();
    Ok(list.into_iter().filter_map(read).map(|child| child.id).collect())
}
