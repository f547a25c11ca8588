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
        "/api/model" | "/api/agent" if cold => json!([]),
        "/api/model/default" if shared.faults.cold_models => {
            json!({ "id": "stand-in", "providerID": "opencode", "name": "Free" })
        }
        "/api/model" => json!([model]),
        "/api/model/default" => model,
        "/api/agent" => {
            json!([agent("build", "primary"), agent("plan", "primary"), agent("general", "subagent")])
        }
        _ => return Err(Refusal::no_route()),
    };
    Ok(ok(&json!({ "location": location, "data": data })))
}

/// An agent with the server's own rules; `plan` only reads.
fn agent(name: &str, mode: &str) -> Value {
    let rule = |action: &str, resource: &str, effect: &str| json!({ "action": action, "resource": resource, "effect": effect });
    let mut rules = vec![rule("*", "*", "allow"), rule("external_directory", "*", "ask")];
    if name == "plan" {
        rules.push(rule("edit", "*", "deny"));
    }
    json!({ "id": name, "name": name, "mode": mode, "hidden": false, "permissions": rules })
}

/// The configuration's documents; with [`cold_models`](crate::fake::Faults::cold_models) they name no model.
pub(super) fn config(shared: &Shared) -> Answer {
    let naming = |provider: &str, model: &str| {
        if shared.faults.cold_models {
            json!({})
        } else {
            json!({ "model": { "providerID": provider, "model": model } })
        }
    };
    // The last document is what the server was started with.
    ok(&json!([
        { "type": "document", "path": "/home/a/.config/opencode/opencode.json", "info": naming("other", "one") },
        { "type": "directory", "path": "/home/a/.config/opencode" },
        { "type": "document", "info": naming("scripted", "scripted") },
    ]))
}

/// The directory and its project.
pub(super) fn location(request: &Request) -> Answer {
    let directory = directory(request);
    ok(
        &json!({ "directory": directory, "project": { "id": "global", "directory": directory, "canonical": directory } }),
    )
}

/// The directory that a request is about: `location[directory]` or the header. A
/// plain `directory` is not looked at.
pub(super) fn directory(request: &Request) -> String {
    let named = request.query("location[directory]").or_else(|| request.directory.clone());
    named.unwrap_or_else(|| OWN_DIRECTORY.to_owned())
}
