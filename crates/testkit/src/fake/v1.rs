//! A daemon of 1.x: which request gets which answer.

mod fold;

use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) use fold::commit;
use serde_json::{Value, json};

use super::fault::{Canned, PromptFault};
use super::generation::matches;
use super::play;
use super::reply::{authorized, events, json_answer, ok};
use super::server::{Answer, Request};
use super::state::{Finish, Session, Shared};

/// Answers one request.
pub(super) async fn answer(shared: &Arc<Shared>, request: Request) -> Answer {
    shared.state().requests.push((request.line(), request.body.clone()));
    if !authorized(shared, &request) {
        return Answer::Whole(Canned::empty(401));
    }
    let line = request.line();
    if shared.faults.unanswered.iter().any(|pattern| matches(pattern, &line)) {
        return Answer::Never;
    }
    if let Some((_, canned)) = shared.faults.canned.iter().find(|(pattern, _)| matches(pattern, &line)) {
        return Answer::Whole(canned.clone());
    }
    let path: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    match (request.method.as_str(), path.as_slice()) {
        ("GET", ["event"]) => events(shared, r#"{"type":"server.connected","properties":{}}"#),
        ("GET", ["fake", "tasks"]) => ok(&json!(shared.tasks())),
        ("GET", ["global", "health"]) => ok(&json!({ "healthy": true, "version": shared.version() })),
        ("GET", ["config"]) => ok(&json!({ "model": "scripted/scripted" })),
        ("GET", ["agent"]) => {
            ok(&json!([agent("build", "primary"), agent("plan", "primary"), agent("general", "subagent")]))
        }
        ("GET", ["session", "status"]) => status(shared),
        ("GET", ["permission"]) => ok(&Value::Array(shared.state().permissions.clone())),
        ("GET", ["question"]) => ok(&Value::Array(shared.state().questions.clone())),
        ("POST", ["permission" | "question", id, "reply" | "reject"]) => reply(shared, id, &request),
        ("POST", ["session"]) => {
            let directory = request.query("directory").unwrap_or_else(|| "/code/app".to_owned());
            ok(&create(shared, &request.body, &directory))
        }
        (_, ["session", id, rest @ ..]) => session(shared, id, rest, &request).await,
        _ => Answer::Whole(Canned::page()),
    }
}

/// An agent with opencode's own rules; `plan` only reads.
fn agent(name: &str, mode: &str) -> Value {
    let rule = |permission: &str, pattern: &str, action: &str| json!({ "permission": permission, "pattern": pattern, "action": action });
    let mut rules = vec![rule("*", "*", "allow"), rule("external_directory", "*", "ask")];
    if name == "plan" {
        rules.extend([rule("edit", "*", "deny"), rule("edit", ".opencode/plans/*.md", "allow")]);
    }
    json!({ "name": name, "mode": mode, "permission": rules })
}

async fn session(shared: &Arc<Shared>, id: &str, rest: &[&str], request: &Request) -> Answer {
    let known = shared.state().sessions.get(id).cloned();
    let Some(known) = known else {
        let message = format!("Session not found: {id}");
        return json_answer(404, &json!({ "name": "NotFoundError", "data": { "message": message } }));
    };
    match (request.method.as_str(), rest) {
        ("GET", []) => ok(&known.info),
        ("PATCH", []) => {
            let mut state = shared.state();
            let info = &mut state.sessions.entry(id.to_owned()).or_default().info;
            let mut rules = info["permission"].as_array().cloned().unwrap_or_default();
            rules.extend(request.body["permission"].as_array().cloned().unwrap_or_default());
            info["permission"] = Value::Array(rules);
            ok(info)
        }
        ("POST", ["message"]) => prompt(shared, id, request).await,
        ("GET", ["message"]) => {
            let limit = request.query("limit").and_then(|it| it.parse().ok()).unwrap_or(usize::MAX);
            let list: Vec<Value> = known
                .messages
                .values()
                .map(|message| json!({ "info": message.info, "parts": message.parts }))
                .collect();
            ok(&Value::Array(list[list.len().saturating_sub(limit)..].to_vec()))
        }
        ("GET", ["message", message]) => match known.messages.get(*message) {
            Some(message) => ok(&json!({ "info": message.info, "parts": message.parts })),
            None => json_answer(
                404,
                &json!({ "name": "NotFoundError", "data": { "message": "Message not found" } }),
            ),
        },
        ("GET", ["diff"]) => ok(&shared.fixture.changes),
        ("GET", ["children"]) => ok(&Value::Array(known.children)),
        ("POST", ["abort"]) => {
            shared.abort(id);
            ok(&json!(true))
        }
        _ => Answer::Whole(Canned::page()),
    }
}

async fn prompt(shared: &Arc<Shared>, session: &str, request: &Request) -> Answer {
    let Some(message) = request.body["messageID"].as_str() else {
        return json_answer(
            400,
            &json!({ "name": "BadRequest", "data": { "message": "this fake wants a messageID" } }),
        );
    };
    let again = || shared.prompt_fault_used.swap(true, Ordering::Relaxed);
    match &shared.faults.prompt {
        PromptFault::CutBefore if !again() => return Answer::Hangup,
        PromptFault::InsteadOfTurn(canned) if !again() => return Answer::Whole(canned.clone()),
        PromptFault::Refused { error, answer } => {
            let properties = json!({ "sessionID": session, "error": error });
            play::emit(shared, &json!({ "type": "session.error", "properties": properties }));
            return Answer::Whole(answer.clone());
        }
        _ => {}
    }
    let (mut finish, mut played) = play::turn(shared, session, message);
    if let PromptFault::CutAt(events) = shared.faults.prompt
        && !again()
    {
        let _ = played.wait_for(|count| *count >= events).await;
        return Answer::Hangup;
    }
    let finish = match finish.wait_for(Option::is_some).await {
        Ok(finish) => finish.clone(),
        Err(_) => None,
    };
    match (finish, &shared.faults.prompt) {
        (Some(Finish::Gone) | None, _) => Answer::Hangup,
        (_, PromptFault::NeverAnswered) => Answer::Never,
        (_, PromptFault::Instead(canned)) => Answer::Whole(canned.clone()),
        (Some(Finish::Answer(answer)), PromptFault::CutInAnswer) if !again() => {
            Answer::Half(Canned::json(200, &answer))
        }
        (Some(Finish::Answer(answer)), _) => ok(&answer),
    }
}

fn status(shared: &Shared) -> Answer {
    let state = shared.state();
    let busy = state.sessions.iter().filter_map(|(id, session)| Some((id.clone(), session.status.clone()?)));
    ok(&Value::Object(busy.collect()))
}

fn reply(shared: &Shared, id: &str, request: &Request) -> Answer {
    let asked = {
        let state = shared.state();
        let found = state.questions.iter().find(|ask| ask["id"] == id).cloned();
        found.and_then(|ask| Some(ask["questions"].as_array()?.len()))
    };
    if let (Some(asked), true) = (asked, request.path.ends_with("/reply")) {
        let lists = request.body["answers"].as_array().map(Vec::len);
        if lists != Some(asked) {
            return json_answer(
                400,
                &json!({ "name": "BadRequest", "data": { "message": "one list per question" } }),
            );
        }
    }
    if shared.answer(id) {
        ok(&json!(true))
    } else {
        json_answer(404, &json!({ "_tag": "PermissionNotFoundError", "message": "not found" }))
    }
}

fn create(shared: &Shared, body: &Value, directory: &str) -> Value {
    let mut state = shared.state();
    state.next += 1;
    let id = format!("ses_fake{:08}0000000000000000", state.next);
    // Later than the recordings, earlier than any clock that is right.
    let time = json!({ "created": 1_795_300_000_000_u64 + state.next });
    let mut info = json!({
        "id": id, "directory": directory, "title": body["title"], "version": shared.version(), "time": time,
    });
    if body["permission"].is_array() {
        info["permission"] = body["permission"].clone();
    }
    state.sessions.insert(id, Session { info: info.clone(), ..Session::default() });
    info
}
