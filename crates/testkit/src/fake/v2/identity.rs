//! Who the server says it is, by version, and what it has to offer.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::OWN_DIRECTORY;
use super::refusal::Refusal;
use crate::fake::fault::Canned;
use crate::fake::reply::{authorized, ok};
use crate::fake::server::{Answer, Request};
use crate::fake::state::Shared;

fn version(shared: &Shared) -> (u64, u64, u64) {
    let mut numbers = shared.version().split('.').map(|it| it.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

/// `/api/health` before 2.0.4, `/api/status` before 2.0.6, `/api/info` since.
pub(super) fn info(shared: &Shared, request: &Request) -> Result<Answer, Refusal> {
    let path = match version(shared) {
        it if it < (2, 0, 4) => "/api/health",
        it if it < (2, 0, 6) => "/api/status",
        _ => "/api/info",
    };
    if request.path != path {
        return Err(Refusal::no_route());
    }
    if path == "/api/health" {
        return Ok(ok(&json!({ "healthy": true, "version": shared.version() })));
    }
    Ok(ok(&json!({
        "version": shared.version(), "pid": 4242, "urls": ["http://127.0.0.1:4096"],
        "paths": { "tmp": "/tmp/opencode" },
    })))
}

/// Beside `/api` there is only the web page; before 2.0.21 it wanted the password too.
pub(super) fn outside(shared: &Shared, request: &Request) -> Answer {
    if version(shared) < (2, 0, 21) && !authorized(shared, request) {
        return Refusal::unauthorized().into();
    }
    Answer::Whole(Canned::page())
}

/// Models and agents of a directory.
pub(super) fn catalog(shared: &Shared, request: &Request) -> Result<Answer, Refusal> {
    let directory = directory(request);
    let location = json!({ "directory": directory });
    let model = json!({
        "id": "scripted", "modelID": "scripted", "providerID": "scripted", "name": "Scripted",
        "status": "active", "enabled": true, "limit": { "context": 100_000, "output": 8000 },
    });
    let cold = shared.cold.swap(false, Ordering::Relaxed);
    let data = match request.path.as_str() {
        "/api/model" if cold => json!([]),
        "/api/model/default" if cold => Value::Null,
        "/api/model" => json!([model]),
        "/api/model/default" => model,
        "/api/agent" => {
            json!([{ "name": "build", "mode": "primary" }, { "name": "plan", "mode": "primary" }])
        }
        _ => return Err(Refusal::no_route()),
    };
    Ok(ok(&json!({ "location": location, "data": data })))
}

/// The directory that a request is about: `location[directory]` or the header. A
/// plain `directory` is not looked at.
pub(super) fn directory(request: &Request) -> String {
    let named = request.query("location[directory]").or_else(|| request.directory.clone());
    named.unwrap_or_else(|| OWN_DIRECTORY.to_owned())
}
