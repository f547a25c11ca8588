//! Permission requests and forms, listed and answered.

use serde_json::{Value, json};

use super::no_content;
use super::refusal::{Refusal, only, strings};
use crate::fake::reply::ok;
use crate::fake::server::{Answer, Request};
use crate::fake::state::{Shared, State};

fn of<'a>(asks: &'a [Value], session: &str) -> Vec<&'a Value> {
    asks.iter().filter(|ask| ask["sessionID"] == session).collect()
}

fn find<'a>(asks: &'a [Value], session: &str, id: &str, what: &str) -> Result<&'a Value, Refusal> {
    let found = of(asks, session).into_iter().find(|ask| ask["id"] == id);
    found.ok_or_else(|| Refusal::not_found(what, id))
}

pub(super) fn permissions(shared: &Shared, session: &str) -> Answer {
    ok(&json!({ "data": of(&shared.state().permissions, session) }))
}

pub(super) fn permission(shared: &Shared, session: &str, id: &str) -> Result<Answer, Refusal> {
    let state = shared.state();
    find(&state.permissions, session, id, "Permission").map(|ask| ok(&json!({ "data": ask })))
}

/// Every pending permission request of a directory.
pub(super) fn of_directory(shared: &Shared, request: &Request) -> Answer {
    let directory = super::identity::directory(request);
    let state = shared.state();
    let here = |ask: &&Value| {
        let session = ask["sessionID"].as_str().and_then(|id| state.sessions.get(id));
        session.is_some_and(|it| it.info["location"]["directory"] == directory.as_str())
    };
    let asks: Vec<&Value> = state.permissions.iter().filter(here).collect();
    ok(&json!({ "location": { "directory": directory }, "data": asks }))
}

/// `{decision, message?}`. A rejection turns down the session's other asks too; where there are any,
/// or without a message, it ends the turn.
pub(super) fn decide(shared: &Shared, session: &str, id: &str, request: &Request) -> Result<Answer, Refusal> {
    only(&request.body, &["decision", "message"])?;
    strings(&request.body, &["message"])?;
    let decision = request.body["decision"].as_str().unwrap_or_default();
    if !matches!(decision, "once" | "always" | "reject") {
        return Err(Refusal::bad("Expected once, always or reject at [\"decision\"]"));
    }
    let mut state = shared.state();
    find(&state.permissions, session, id, "Permission")?;
    if decision == "reject" {
        let alone = of(&state.permissions, session).len() == 1;
        if !alone || request.body["message"].as_str().is_none_or(str::is_empty) {
            let asked: Vec<String> = of(&state.permissions, session)
                .iter()
                .filter_map(|ask| ask["id"].as_str())
                .map(str::to_owned)
                .collect();
            state.silenced.extend(asked);
        }
        state.permissions.retain(|ask| ask["sessionID"] != session);
    } else {
        state.permissions.retain(|ask| ask["id"] != id);
    }
    drop(state);
    shared.changed.notify_waiters();
    Ok(no_content())
}

pub(super) fn forms(shared: &Shared, session: &str) -> Answer {
    ok(&json!({ "data": of(&shared.state().questions, session) }))
}

pub(super) fn form(shared: &Shared, session: &str, id: &str) -> Result<Answer, Refusal> {
    let state = shared.state();
    let mut form = find(&state.questions, session, id, "Form")?.clone();
    form["state"] = json!({ "status": "pending" });
    Ok(ok(&json!({ "data": form })))
}

/// `{answer: {key: value}}`: a list where several may be chosen, and only there.
pub(super) fn fill(shared: &Shared, session: &str, id: &str, request: &Request) -> Result<Answer, Refusal> {
    only(&request.body, &["answer"])?;
    let mut state = shared.state();
    let form = pending(&state, session, id)?;
    check(form, &request.body["answer"])?;
    settle(&mut state, id);
    drop(state);
    shared.changed.notify_waiters();
    Ok(no_content())
}

/// `DELETE .../form/{id}?message=`: it ends the turn, whatever is said.
pub(super) fn cancel(shared: &Shared, session: &str, id: &str) -> Result<Answer, Refusal> {
    let mut state = shared.state();
    pending(&state, session, id)?;
    settle(&mut state, id);
    state.silenced.insert(id.to_owned());
    drop(state);
    shared.changed.notify_waiters();
    Ok(no_content())
}

fn pending<'a>(state: &'a State, session: &str, id: &str) -> Result<&'a Value, Refusal> {
    if state.settled.contains(id) {
        return Err(Refusal::conflict("FormAlreadySettledError", id, format!("Form already settled: {id}")));
    }
    find(&state.questions, session, id, "Form")
}

fn settle(state: &mut State, id: &str) {
    state.questions.retain(|form| form["id"] != id);
    state.settled.insert(id.to_owned());
}

fn check(form: &Value, answer: &Value) -> Result<(), Refusal> {
    let fields = form["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let keys: Vec<&str> = fields.iter().filter_map(|field| field["key"].as_str()).collect();
    only(answer, &keys)?;
    for field in fields {
        let key = field["key"].as_str().unwrap_or_default();
        let fits = match field["type"].as_str() {
            Some("multiselect") => answer[key].as_array().is_some_and(|it| it.iter().all(Value::is_string)),
            Some("string") => answer[key].as_str().is_some_and(|value| offered(field, value)),
            Some("boolean") => answer[key].is_boolean(),
            _ => answer[key].is_number(),
        };
        if !fits {
            return Err(Refusal::bad(format!("The answer does not fit the field [\"{key}\"]")));
        }
    }
    Ok(())
}

/// Whether a value is an option, where only those may be chosen.
fn offered(field: &Value, value: &str) -> bool {
    let options = field["options"].as_array().map(Vec::as_slice).unwrap_or_default();
    options.is_empty() || field["custom"] == true || options.iter().any(|option| option["value"] == value)
}
