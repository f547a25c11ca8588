//! Sessions: made, read, changed.

use serde_json::{Map, Value, json};

use super::refusal::{Refusal, only, strings};
use super::{OWN_DIRECTORY, no_content};
use crate::fake::reply::ok;
use crate::fake::server::{Answer, Request};
use crate::fake::state::{Session, Shared};

/// `POST /api/session`. The directory counts in the body alone; a model is not
/// looked up; an id that exists is that session, unchanged.
pub(super) fn create(shared: &Shared, request: &Request) -> Result<Answer, Refusal> {
    let body = match &request.body {
        Value::Null => &json!({}),
        body => body,
    };
    only(body, &["id", "parentID", "title", "agent", "model", "location", "metadata", "permissions"])?;
    strings(body, &["id", "parentID", "title", "agent"])?;
    checked_model(body)?;
    checked_rules(body)?;
    let directory = match &body["location"] {
        Value::Null => OWN_DIRECTORY,
        location => {
            only(location, &["directory"])?;
            location["directory"]
                .as_str()
                .ok_or_else(|| Refusal::bad("Expected string at [\"directory\"]"))?
        }
    };
    let mut state = shared.state();
    let id = match body["id"].as_str() {
        Some(id) if !id.starts_with("ses_") => return Err(Refusal::bad("Expected ses_ at [\"id\"]")),
        Some(id) => id.to_owned(),
        None => {
            state.next += 1;
            format!("ses_fake{:08}0000000000000000", state.next)
        }
    };
    if let Some(known) = state.sessions.get(&id) {
        return Ok(ok(&json!({ "data": known.info })));
    }
    // Later than the written turns, earlier than any clock that is right.
    let now = 1_795_300_000_000_u64 + state.next;
    let mut info = json!({
        "id": id, "projectID": "global", "cost": 0,
        "tokens": { "input": 0, "output": 0, "reasoning": 0, "cache": { "read": 0, "write": 0 } },
        "time": { "created": now, "updated": now },
        "title": body["title"].as_str().unwrap_or("New session"),
        "location": { "directory": directory },
    });
    for key in ["parentID", "agent", "model", "metadata", "permissions"] {
        if !body[key].is_null() {
            info[key] = body[key].clone();
        }
    }
    state.sessions.insert(id, Session { info: info.clone(), ..Session::default() });
    Ok(ok(&json!({ "data": info })))
}

/// `GET /api/session`, by directory and parent.
pub(super) fn list(shared: &Shared, request: &Request) -> Result<Answer, Refusal> {
    let (directory, parent) = (request.query("directory"), request.query("parentID"));
    let limit = super::record::limit(request)?;
    let state = shared.state();
    let children = state.sessions.values().flat_map(|session| &session.children);
    let made = state.sessions.values().map(|session| &session.info).filter(|info| info.is_object());
    let mut found: Vec<&Value> = made
        .chain(children)
        .filter(|info| directory.as_ref().is_none_or(|it| info["location"]["directory"] == it.as_str()))
        .filter(|info| match parent.as_deref() {
            None => true,
            Some("null") => info["parentID"].is_null(),
            Some(parent) => info["parentID"] == parent,
        })
        .take(limit)
        .collect();
    found.dedup_by_key(|info| &info["id"]);
    Ok(ok(&json!({ "data": found, "cursor": { "previous": null, "next": null } })))
}

pub(super) fn info(shared: &Shared, id: &str) -> Value {
    shared.state().sessions.get(id).map_or(Value::Null, |it| it.info.clone())
}

pub(super) fn delete(shared: &Shared, id: &str) -> Answer {
    shared.state().sessions.remove(id);
    no_content()
}

/// `PATCH`: what it names is replaced whole.
pub(super) fn update(shared: &Shared, id: &str, request: &Request) -> Result<Answer, Refusal> {
    only(&request.body, &["title", "metadata", "permissions"])?;
    strings(&request.body, &["title"])?;
    checked_rules(&request.body)?;
    set(shared, id, request.body.as_object());
    Ok(no_content())
}

/// `POST .../model` and `.../agent`: for the prompts from now on. A model is not
/// looked up, and the agent `plan` brings its own.
pub(super) fn select(shared: &Shared, id: &str, what: &str, request: &Request) -> Result<Answer, Refusal> {
    only(&request.body, &[what])?;
    match what {
        "model" if request.body["model"].is_object() => checked_model(&request.body)?,
        "agent" if request.body["agent"].is_string() => {}
        _ => return Err(Refusal::bad(format!("Missing key at [\"{what}\"]"))),
    }
    set(shared, id, request.body.as_object());
    if request.body["agent"] == "plan" {
        set(shared, id, json!({ "model": { "id": "planner", "providerID": "scripted" } }).as_object());
    }
    Ok(no_content())
}

/// `PUT .../instructions/entries/{key}`: system text, at most 8 KiB of JSON as a description has it
/// (2.0.14 takes 200,000 characters too); `DELETE` takes it away again.
pub(super) fn instruct(shared: &Shared, id: &str, key: &str, request: &Request) -> Result<Answer, Refusal> {
    if request.method == "DELETE" {
        let mut state = shared.state();
        let Some(session) = state.sessions.get_mut(id) else { return Err(Refusal::not_found("Session", id)) };
        session.record.instructions.remove(key);
        return Ok(no_content());
    }
    only(&request.body, &["value"])?;
    if request.body["value"].to_string().len() > 8 << 10 {
        return Err(Refusal::bad("The value is larger than 8 KiB"));
    }
    let mut state = shared.state();
    let Some(session) = state.sessions.get_mut(id) else { return Err(Refusal::not_found("Session", id)) };
    session.record.instructions.insert(key.to_owned(), request.body["value"].clone());
    Ok(no_content())
}

/// Sessions at work in this process.
pub(super) fn active(shared: &Shared) -> Answer {
    let state = shared.state();
    let busy = state.sessions.iter().filter(|(_, session)| session.status.is_some());
    let busy: Map<String, Value> = busy.map(|(id, _)| (id.clone(), json!({ "type": "running" }))).collect();
    ok(&json!({ "data": busy }))
}

fn set(shared: &Shared, id: &str, fields: Option<&Map<String, Value>>) {
    if let (Some(session), Some(fields)) = (shared.state().sessions.get_mut(id), fields) {
        for (key, value) in fields {
            session.info[key] = value.clone();
        }
    }
}

fn checked_model(body: &Value) -> Result<(), Refusal> {
    let Some(model) = body.get("model") else { return Ok(()) };
    only(model, &["id", "providerID", "variant"])?;
    let named = model["id"].is_string() && model["providerID"].is_string();
    if named { Ok(()) } else { Err(Refusal::bad("Missing key at [\"model\"]")) }
}

fn checked_rules(body: &Value) -> Result<(), Refusal> {
    let Some(rules) = body.get("permissions") else { return Ok(()) };
    let Some(rules) = rules.as_array() else {
        return Err(Refusal::bad("Expected array at [\"permissions\"]"));
    };
    for rule in rules {
        only(rule, &["action", "resource", "effect"])?;
        let effect = rule["effect"].as_str().unwrap_or_default();
        if !rule["action"].is_string()
            || !rule["resource"].is_string()
            || !matches!(effect, "allow" | "deny" | "ask")
        {
            return Err(Refusal::bad("Expected a rule at [\"permissions\"]"));
        }
    }
    Ok(())
}
