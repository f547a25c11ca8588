//! What the events of 2.x say of their sessions.

use serde_json::{Value, json};

use super::record::Record;
use crate::fake::fixture::text;
use crate::fake::state::{Session, State};

/// Folds an event into what the fake knows, and returns it as it is told: with
/// its number in the session's log.
pub(in crate::fake) fn commit(state: &mut State, event: &Value) -> Value {
    let mut event = event.clone();
    let data = event["data"].clone();
    let id = text(&data["sessionID"]);
    match event["type"].as_str().unwrap_or_default() {
        "permission.asked" => state.permissions.push(data),
        "permission.replied" => state.permissions.retain(|ask| ask["id"] != data["requestID"]),
        "form.created" => state.questions.push(data["form"].clone()),
        "form.replied" | "form.cancelled" => state.questions.retain(|form| form["id"] != data["id"]),
        "session.created" | "fake.child" => {
            let mut info = data.clone();
            info["id"] = json!(id);
            let parent = state.sessions.entry(text(&data["parentID"])).or_default();
            parent.children.push(info.clone());
            state.sessions.entry(id).or_insert_with(|| Session { info, ..Session::default() });
        }
        "session.execution.succeeded" | "session.execution.failed" | "session.execution.interrupted" => {
            state.permissions.retain(|ask| ask["sessionID"] != id.as_str());
            state.questions.retain(|form| form["sessionID"] != id.as_str());
            log(state, &id, &mut event);
            let session = state.sessions.entry(id).or_default();
            session.status = None;
            session.record.rows.iter_mut().for_each(asked_no_more);
            session.record.rows.extend(idle(&event));
        }
        _ => {
            log(state, &id, &mut event);
            let session = state.sessions.entry(id).or_default();
            if event["type"] == "session.execution.started" {
                session.status = Some(json!({ "type": "running" }));
            }
            row(&mut session.record, &event);
        }
    }
    event
}

fn log(state: &mut State, id: &str, event: &mut Value) {
    if !event["durable"].is_object() {
        return;
    }
    let log = &mut state.sessions.entry(id.to_owned()).or_default().record.log;
    event["durable"]["aggregateID"] = json!(id);
    event["durable"]["seq"] = json!(log.len() + 1);
    log.push(event.clone());
}

/// The row that marks the end of a turn. A shutdown writes none.
fn idle(event: &Value) -> Option<Value> {
    let outcome = event["type"].as_str()?.strip_prefix("session.execution.")?;
    let tail = event["id"].as_str().and_then(|id| id.strip_prefix("evt_")).unwrap_or_default();
    (event["data"]["reason"] != "shutdown").then(|| {
        json!({
            "id": format!("msg_{tail}"), "time": { "created": event["created"] },
            "type": "idle", "outcome": outcome,
        })
    })
}

/// Folds an event into the rows.
fn row(record: &mut Record, event: &Value) {
    let (data, now) = (&event["data"], &event["created"]);
    match event["type"].as_str().unwrap_or_default() {
        "session.inbox.delivered" => {
            let Some(at) = record.inbox.iter().position(|item| item["id"] == data["inboxID"]) else { return };
            let item = record.inbox.remove(at);
            record.rows.push(json!({
                "id": item["id"], "time": { "created": now }, "text": item["payload"]["text"], "type": "user",
            }));
        }
        "session.step.started" => started(record, data),
        "fake.content" => {
            if let Some(row) = record.rows.iter_mut().rfind(|row| row["type"] == "assistant") {
                content(row).push(data["content"].clone());
            }
        }
        kind => {
            let id = &data["assistantMessageID"];
            if let Some(row) = record.rows.iter_mut().rfind(|row| id.is_string() && row["id"] == *id) {
                step(row, kind, data, now);
            }
        }
    }
}

/// A step begins, or begins again after its provider failed: its row stays where it is.
fn started(record: &mut Record, data: &Value) {
    let id = &data["assistantMessageID"];
    if let Some(row) = record.rows.iter_mut().rfind(|row| row["id"] == *id) {
        row["time"]["created"] = data["started"].clone();
        asked_no_more(row);
        return;
    }
    record.rows.push(json!({
        "id": id, "time": { "created": data["started"] }, "type": "assistant",
        "agent": data["agent"], "model": data["model"], "content": [],
    }));
}

/// The provider of a row's step is not waited for any more.
fn asked_no_more(row: &mut Value) {
    if let Some(row) = row.as_object_mut() {
        row.remove("retry");
    }
}

/// Folds an event into its step's row.
fn step(row: &mut Value, kind: &str, data: &Value, now: &Value) {
    match kind {
        "session.step.streamed" => row["time"]["streamed"] = now.clone(),
        "session.step.ended" => {
            for key in ["finish", "rawFinish", "cost", "tokens"] {
                row[key] = data[key].clone();
            }
            row["time"]["completed"] = now.clone();
        }
        "session.step.failed" => {
            row["finish"] = json!("error");
            for key in ["rawFinish", "cost", "tokens"].into_iter().filter(|key| !data[key].is_null()) {
                row[key] = data[key].clone();
            }
            row["error"] = data["error"].clone();
            row["time"]["completed"] = now.clone();
        }
        "session.retry.scheduled" => {
            row["retry"] = json!({ "attempt": data["attempt"], "at": data["at"], "error": data["error"] });
        }
        "session.text.started" => content(row).push(json!({ "type": "text", "text": "" })),
        "session.reasoning.started" => content(row).push(json!({
            "type": "reasoning", "text": "", "state": data["state"], "time": { "created": now },
        })),
        "session.text.ended" | "session.reasoning.ended" => {
            let kind = kind.split('.').nth(1).unwrap_or_default();
            let ordinal = data["ordinal"].as_u64().and_then(|it| usize::try_from(it).ok()).unwrap_or(0);
            if let Some(part) = content(row).iter_mut().filter(|it| it["type"] == kind).nth(ordinal) {
                part["text"] = data["text"].clone();
                if kind == "reasoning" {
                    part["state"] = data["state"].clone();
                    part["time"]["completed"] = now.clone();
                }
            }
        }
        "session.tool.input.started" => content(row).push(json!({
            "type": "tool", "id": data["id"], "name": data["name"], "executed": false,
            "state": { "status": "streaming", "input": "" }, "time": { "created": now },
        })),
        _ => {
            if let Some(part) =
                content(row).iter_mut().find(|it| data["id"].is_string() && it["id"] == data["id"])
            {
                tool(part, kind, data, now);
            }
        }
    }
}

/// Folds an event into its tool's part.
fn tool(part: &mut Value, kind: &str, data: &Value, now: &Value) {
    let input = part["state"]["input"].clone();
    match kind {
        "session.tool.input.ended" => part["state"]["input"] = data["text"].clone(),
        "session.tool.called" => {
            part["state"] = json!({ "status": "running", "input": data["input"], "metadata": {} });
            part["time"]["ran"] = now.clone();
        }
        "session.tool.success" => {
            part["state"] = json!({
                "status": "completed", "input": input, "content": data["content"], "metadata": data["metadata"],
            });
            part["time"]["completed"] = now.clone();
        }
        "session.tool.failed" => {
            part["state"] = json!({ "status": "error", "input": input, "error": data["error"] });
            part["time"]["completed"] = now.clone();
        }
        _ => {}
    }
}

fn content(row: &mut Value) -> &mut Vec<Value> {
    if !row["content"].is_array() {
        row["content"] = json!([]);
    }
    row["content"].as_array_mut().unwrap_or_else(|| unreachable!("an array"))
}
