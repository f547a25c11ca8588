//! Which request gets which answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::fault::{Canned, PromptFault};
use super::play;
use super::server::{Answer, Request};
use super::state::{Finish, Shared};

/// Answers one request.
pub(super) async fn answer(shared: &Arc<Shared>, request: Request) -> Answer {
    shared.state().requests.push((request.line(), request.body.clone()));
    if !authorized(shared, &request) {
        return Answer::Whole(Canned::empty(401));
    }
    if let Some((_, canned)) =
        shared.faults.canned.iter().find(|(start, _)| request.line().starts_with(start.as_str()))
    {
        return Answer::Whole(canned.clone());
    }
    let path: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    match (request.method.as_str(), path.as_slice()) {
        ("GET", ["event"]) => events(shared),
        ("GET", ["fake", "tasks"]) => ok(&json!(shared.tasks())),
        ("GET", ["global", "health"]) => ok(&json!({ "healthy": true, "version": "1.18.33" })),
        ("GET", ["config"]) => ok(&json!({ "model": "scripted/scripted" })),
        ("GET", ["session", "status"]) => status(shared),
        ("GET", ["permission"]) => ok(&Value::Array(shared.state().permissions.clone())),
        ("GET", ["question"]) => ok(&Value::Array(shared.state().questions.clone())),
        ("POST", ["permission" | "question", id, "reply" | "reject"]) => reply(shared, id, &request),
        ("POST", ["session"]) => {
            let directory = request.query("directory").unwrap_or_else(|| "/code/app".to_owned());
            ok(&shared.create(&request.body, &directory))
        }
        (_, ["session", id, rest @ ..]) => session(shared, id, rest, &request).await,
        _ => Answer::Whole(Canned::page()),
    }
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

fn events(shared: &Shared) -> Answer {
    if shared.faults.no_stream {
        return Answer::Hangup;
    }
    let end = if shared.faults.crlf { "\r\n" } else { "\n" };
    let mut first = if shared.faults.bom { "\u{feff}".to_owned() } else { String::new() };
    if !shared.faults.silent_stream {
        first.push_str(&format!("data: {{\"type\":\"server.connected\",\"properties\":{{}}}}{end}{end}"));
    }
    if shared.faults.short_streams {
        let body = first.into_bytes();
        return Answer::Whole(Canned { status: 200, content_type: "text/event-stream", body });
    }
    Answer::Stream { first: first.into_bytes(), items: shared.stream.subscribe() }
}

fn authorized(shared: &Shared, request: &Request) -> bool {
    if shared.locked.load(Ordering::Relaxed) {
        return false;
    }
    shared.faults.password.as_ref().is_none_or(|password| {
        request.authorization.as_deref()
            == Some(&format!("Basic {}", base64(&format!("opencode:{password}"))))
    })
}

fn base64(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for piece in text.as_bytes().chunks(3) {
        let word =
            piece.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - piece.len()));
        for at in 0..4 {
            let sextet = (word >> (18 - 6 * at)) & 63;
            out.push(if at <= piece.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    out
}

fn ok(body: &Value) -> Answer {
    json_answer(200, body)
}

fn json_answer(status: u16, body: &Value) -> Answer {
    Answer::Whole(Canned::json(status, body))
}
