//! What a session has on record: its inbox, its rows, its log, its changes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::no_content;
use super::refusal::Refusal;
use crate::fake::fault::Canned;
use crate::fake::reply::ok;
use crate::fake::server::{Answer, Request};
use crate::fake::state::Shared;

const MOST: usize = 200;
const USUAL: usize = 50;

/// What a session of 2.x has beside what every session has.
#[derive(Debug, Default, Clone)]
pub(in crate::fake) struct Record {
    /// Message rows, oldest first.
    pub(in crate::fake) rows: Vec<Value>,
    /// Admitted and not delivered.
    pub(super) inbox: Vec<Value>,
    /// Every admission, by message.
    pub(super) admitted: BTreeMap<String, Value>,
    /// Durable events.
    pub(super) log: Vec<Value>,
    /// Somebody plays its prompts.
    pub(super) awake: bool,
    pub(super) instructions: BTreeMap<String, Value>,
}

/// `?limit=`, at most 200.
pub(super) fn limit(request: &Request) -> Result<usize, Refusal> {
    match request.query("limit").map(|it| it.parse::<usize>()) {
        None => Ok(USUAL),
        Some(Ok(limit)) if (1..=MOST).contains(&limit) => Ok(limit),
        Some(_) => Err(Refusal::bad_query("Expected 1..200 at [\"limit\"]")),
    }
}

/// Rows in pages: newest first unless told otherwise. A cursor keeps its order,
/// and the last page is an empty one.
pub(super) fn messages(shared: &Shared, id: &str, request: &Request) -> Result<Answer, Refusal> {
    let limit = limit(request)?;
    let (ascending, from) = match (request.query("order").as_deref(), request.query("cursor")) {
        (Some(_), Some(_)) => return Err(Refusal::bad_query("order and cursor exclude each other")),
        (None | Some("desc"), None) => (false, 0),
        (Some("asc"), None) => (true, 0),
        (Some(_), None) => return Err(Refusal::bad_query("Expected asc or desc at [\"order\"]")),
        (None, Some(cursor)) => {
            let (order, from) = cursor.split_once('-').unwrap_or_default();
            let from = from.parse().map_err(|_| Refusal::bad_query("Invalid cursor"))?;
            (order == "asc", from)
        }
    };
    let kind = request.query("type");
    let mut rows = shared.state().sessions.get(id).map(|it| it.record.rows.clone()).unwrap_or_default();
    rows.retain(|row| kind.as_ref().is_none_or(|kind| row["type"] == kind.as_str()));
    if !ascending {
        rows.reverse();
    }
    let page: Vec<Value> = rows.iter().skip(from).take(limit).cloned().collect();
    let order = if ascending { "asc" } else { "desc" };
    let mut cursor = json!({ "previous": null, "next": null });
    if !page.is_empty() {
        cursor["next"] = json!(format!("{order}-{}", from + page.len()));
    }
    if from > 0 {
        cursor["previous"] = json!(format!("{order}-{}", from.saturating_sub(limit)));
    }
    Ok(ok(&json!({ "data": page, "cursor": cursor })))
}

pub(super) fn message(shared: &Shared, id: &str, message: &str) -> Result<Answer, Refusal> {
    let state = shared.state();
    let rows = state.sessions.get(id).map(|it| it.record.rows.as_slice()).unwrap_or_default();
    let row = rows.iter().find(|row| row["id"] == message);
    row.map(|row| ok(&json!({ "data": row }))).ok_or_else(|| Refusal::not_found("Message", message))
}

pub(super) fn inbox(shared: &Shared, id: &str) -> Answer {
    let state = shared.state();
    let inbox = state.sessions.get(id).map(|it| it.record.inbox.as_slice()).unwrap_or_default();
    ok(&json!({ "data": inbox }))
}

/// Takes a prompt back that is not delivered; anything else is no error.
pub(super) fn cancel(shared: &Shared, id: &str, item: &str) -> Answer {
    let mut state = shared.state();
    if let Some(session) = state.sessions.get_mut(id) {
        session.record.inbox.retain(|it| it["id"] != item);
    }
    if let Some(queue) = state.queues.get_mut(id) {
        queue.retain(|it| it.fixture.message != item);
    }
    no_content()
}

/// The changes of the turn that `from` begins, or the newest.
pub(super) fn diff(shared: &Shared, id: &str, request: &Request) -> Result<Answer, Refusal> {
    if let Some(from) = request.query("from") {
        message(shared, id, &from)?;
    }
    Ok(ok(&json!({ "data": shared.fixture.changes })))
}

/// Durable events after a number, and then the mark that those are all. This
/// fake does not follow.
pub(super) fn log(shared: &Shared, id: &str, request: &Request) -> Result<Answer, Refusal> {
    let state = shared.state();
    let Some(session) = state.sessions.get(id) else { return Err(Refusal::not_found("Session", id)) };
    if request.query("follow").as_deref() == Some("true") {
        return Err(Refusal::bad_query("this fake does not follow"));
    }
    let after = match request.query("after").map(|it| it.parse::<u64>()) {
        None => None,
        Some(Ok(after)) => Some(after),
        Some(Err(_)) => return Err(Refusal::bad_query("Expected a number at [\"after\"]")),
    };
    let seq = |event: &Value| event["durable"]["seq"].as_u64();
    let log = &session.record.log;
    let mut lines: Vec<String> =
        log.iter().filter(|event| seq(event) > after).map(|event| format!("data: {event}\n\n")).collect();
    let mut synced = json!({ "type": "log.synced", "aggregateID": id });
    if let Some(last) = log.last().and_then(seq) {
        synced["seq"] = json!(last);
    }
    lines.push(format!("data: {synced}\n\n"));
    let body = lines.concat().into_bytes();
    Ok(Answer::Whole(Canned { status: 200, content_type: "text/event-stream", body }))
}
