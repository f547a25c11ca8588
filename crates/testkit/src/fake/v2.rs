//! A server of 2.x, as its public description has it: which request gets which
//! answer. It is strict where the description is, and also about keys that the
//! description does not name, because nobody has said that those are harmless.

mod admit;
mod asks;
mod fold;
mod identity;
mod interrupt;
mod record;
mod refusal;
mod sessions;

use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) use admit::is_waiting;
pub(super) use fold::commit;
pub(super) use interrupt::interrupted;
use serde_json::json;

pub(super) use self::record::Record;
use self::refusal::Refusal;
use super::fault::Canned;
use super::generation::matches;
use super::reply::{authorized, events, json_answer, ok};
use super::server::{Answer, Request};
use super::state::Shared;

/// Where sessions live whose creator named no directory: the server's own.
const OWN_DIRECTORY: &str = "/home/somebody";

/// Answers one request.
pub(super) async fn answer(shared: &Arc<Shared>, request: Request) -> Answer {
    shared.state().requests.push((request.line(), request.body.clone()));
    if request.path == "/fake/tasks" {
        return ok(&json!(shared.tasks()));
    }
    let starting = |left: usize| left.checked_sub(1);
    if shared.starting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, starting).is_ok() {
        return json_answer(503, &json!({ "code": "service_starting", "message": "opencode is starting" }));
    }
    let known = authorized(shared, &request);
    if shared.faults.bare_401 && !known {
        return Answer::Whole(Canned::empty(401));
    }
    if !request.path.starts_with("/api/") && request.path != "/openapi.json" {
        return identity::outside(shared, &request);
    }
    if !known {
        return Refusal::unauthorized().into();
    }
    let line = request.line();
    if shared.faults.unanswered.iter().any(|pattern| matches(pattern, &line)) {
        return Answer::Never;
    }
    if let Some((_, canned)) = shared.faults.canned.iter().find(|(pattern, _)| matches(pattern, &line)) {
        return Answer::Whole(canned.clone());
    }
    route(shared, &request).await.unwrap_or_else(Answer::from)
}

async fn route(shared: &Arc<Shared>, request: &Request) -> Result<Answer, Refusal> {
    let path: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    match (request.method.as_str(), path.as_slice()) {
        ("GET", ["openapi.json"]) => Ok(ok(&json!({ "openapi": "3.1.0", "info": { "version": "0.0.1" } }))),
        ("GET", ["api", "info" | "status" | "health"]) => identity::info(shared, request),
        ("GET", ["api", "event"]) => Ok(events(
            shared,
            r#"{"id":"evt_000000000000wire2fixture00","type":"server.connected","data":{}}"#,
        )),
        ("GET", ["api", "config"]) => Ok(identity::config(shared)),
        ("GET", ["api", "location"]) => Ok(identity::location(request)),
        ("GET", ["api", "permission", "saved"]) => Ok(ok(&json!({ "data": shared.faults.saved }))),
        ("GET", ["api", "model" | "agent", ..]) => identity::catalog(shared, request),
        ("GET", ["api", "permission", "request"]) => Ok(asks::of_directory(shared, request)),
        ("POST", ["api", "session"]) => sessions::create(shared, request),
        ("GET", ["api", "session"]) => sessions::list(shared, request),
        ("GET", ["api", "session", "active"]) => Ok(sessions::active(shared)),
        (_, ["api", "session", id, rest @ ..]) => session(shared, id, rest, request).await,
        ("POST", ["api", "experimental", "session", id, "wait"]) => admit::wait(shared, id).await,
        ("GET", ["api", "experimental", "session", id, "log"]) => record::log(shared, id, request),
        ("PUT" | "DELETE", ["api", "experimental", "session", id, "instructions", "entries", key]) => {
            sessions::instruct(shared, id, key, request)
        }
        _ => Err(Refusal::no_route()),
    }
}

async fn session(
    shared: &Arc<Shared>,
    id: &str,
    rest: &[&str],
    request: &Request,
) -> Result<Answer, Refusal> {
    if !shared.state().sessions.contains_key(id) {
        return Err(Refusal::not_found("Session", id));
    }
    match (request.method.as_str(), rest) {
        ("GET", []) => Ok(ok(&json!({ "data": sessions::info(shared, id) }))),
        ("DELETE", []) => Ok(sessions::delete(shared, id)),
        ("PATCH", []) => sessions::update(shared, id, request),
        ("POST", ["model" | "agent"]) => sessions::select(shared, id, rest[0], request),
        ("POST", ["prompt"]) => admit::prompt(shared, id, request).await,
        ("POST", ["interrupt"]) => Ok(admit::interrupt(shared, id)),
        ("GET", ["inbox"]) => Ok(record::inbox(shared, id)),
        ("DELETE", ["inbox", item]) => Ok(record::cancel(shared, id, item)),
        ("GET", ["message"]) => record::messages(shared, id, request),
        ("GET", ["message", message]) => record::message(shared, id, message),
        ("GET", ["diff"]) => record::diff(shared, id, request),
        ("GET", ["permission"]) => Ok(asks::permissions(shared, id)),
        ("GET", ["permission", ask]) => asks::permission(shared, id, ask),
        ("POST", ["permission", ask, "reply"]) => asks::decide(shared, id, ask, request),
        ("GET", ["form"]) => Ok(asks::forms(shared, id)),
        ("GET", ["form", form]) => asks::form(shared, id, form),
        ("POST", ["form", form, "reply"]) => asks::fill(shared, id, form, request),
        ("DELETE", ["form", form]) => asks::cancel(shared, id, form),
        _ => Err(Refusal::no_route()),
    }
}

/// 204.
fn no_content() -> Answer {
    Answer::Whole(Canned::empty(204))
}
