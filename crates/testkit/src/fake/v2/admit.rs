//! Prompts: admitted at once, run one after another, interrupted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::no_content;
use super::refusal::{Refusal, only, strings};
use crate::fake::fault::{Canned, PromptFault};
use crate::fake::fixture::Fixture;
use crate::fake::play::{self, Playing};
use crate::fake::reply::ok;
use crate::fake::server::{Answer, Request};
use crate::fake::state::{Session, Shared, State};

/// `POST .../prompt`: the admission, at once. The same id in the same session is
/// the first admission again, whatever else the body says.
pub(super) async fn prompt(
    shared: &Arc<Shared>,
    session: &str,
    request: &Request,
) -> Result<Answer, Refusal> {
    let body = &request.body;
    only(body, &["id", "text", "files", "agents", "skills", "metadata", "delivery", "resume"])?;
    strings(body, &["id", "delivery"])?;
    if !body["text"].is_string() {
        return Err(Refusal::bad("Missing key at [\"text\"]"));
    }
    for file in body["files"].as_array().into_iter().flatten() {
        only(file, &["uri"])?;
    }
    let delivery = body["delivery"].as_str().unwrap_or("steer");
    if !matches!(delivery, "steer" | "queue") {
        return Err(Refusal::bad("Expected steer or queue at [\"delivery\"]"));
    }
    let message = match body["id"].as_str() {
        Some(id) if id.starts_with("msg_") => id.to_owned(),
        Some(_) => return Err(Refusal::bad("Expected msg_ at [\"id\"]")),
        None => {
            let mut state = shared.state();
            state.next += 1;
            format!("msg_{:012x}00000000000000", 0x1000_0000_0000_u64 + state.next)
        }
    };
    let again = || shared.prompt_fault_used.swap(true, Ordering::Relaxed);
    match &shared.faults.prompt {
        PromptFault::CutBefore if !again() => return Ok(Answer::Hangup),
        PromptFault::InsteadOfTurn(canned) if !again() => return Ok(Answer::Whole(canned.clone())),
        _ => {}
    }
    let (admission, mut played) = admit(shared, session, &message, body)?;
    let whole = Canned::json(200, &json!({ "data": admission }));
    match &shared.faults.prompt {
        PromptFault::CutAt(events) if !again() => {
            let _ = played.wait_for(|count| count >= events).await;
            Ok(Answer::Hangup)
        }
        PromptFault::CutInAnswer if !again() => Ok(Answer::Half(whole)),
        PromptFault::NeverAnswered => Ok(Answer::Never),
        PromptFault::Instead(canned) => Ok(Answer::Whole(canned.clone())),
        _ => Ok(Answer::Whole(whole)),
    }
}

/// Puts a prompt into the inbox and wakes the session; returns the admission and
/// the count of events played. A steering prompt joins the turn that runs.
fn admit(
    shared: &Arc<Shared>,
    session: &str,
    message: &str,
    body: &Value,
) -> Result<(Value, watch::Receiver<usize>), Refusal> {
    let (progress, played) = watch::channel(0);
    let mut state = shared.state();
    let elsewhere = |(id, it): (&String, &Session)| id != session && it.record.admitted.contains_key(message);
    if state.sessions.iter().any(elsewhere) {
        return Err(Refusal::conflict(
            "ConflictError",
            message,
            format!("{message} belongs to another session"),
        ));
    }
    let Some(known) = state.sessions.get_mut(session) else {
        return Err(Refusal::not_found("Session", session));
    };
    let first = known.record.admitted.get(message).cloned();
    let admission = first.clone().unwrap_or_else(|| {
        json!({
            "id": message, "sessionID": session, "time": { "created": 1_795_300_000_000_u64 }, "type": "user",
            "payload": { "text": body["text"] }, "delivery": body["delivery"].as_str().unwrap_or("steer"),
        })
    });
    let key = (session.to_owned(), message.to_owned());
    if first.is_none() {
        known.record.admitted.insert(message.to_owned(), admission.clone());
        known.record.inbox.push(admission.clone());
    } else if state.turns.contains_key(&key) || !is_waiting(&state, session, message) {
        // Under way, over, or delivered to a server that is gone: not run again.
        progress.send_replace(usize::MAX);
        return Ok((admission, played));
    }
    let (finish, answer) = watch::channel(None);
    state.tasks.insert(key.clone());
    state.turns.insert(key, answer);
    let mut fixture = shared.fixture.rewritten(session, message);
    spoken(&mut fixture, &admission);
    if let PromptFault::Refused { error, .. } = &shared.faults.prompt {
        without_steps(&mut fixture, error);
    }
    state.queues.entry(session.to_owned()).or_default().push_back(Playing { fixture, finish, progress });
    let known = state.sessions.entry(session.to_owned()).or_default();
    // Active at once, so that an interrupt that comes early finds something.
    known.status = Some(json!({ "type": "running" }));
    if !std::mem::replace(&mut known.record.awake, true) {
        tokio::spawn(run(Arc::clone(shared), session.to_owned()));
    }
    Ok((admission, played))
}

/// Plays a session's prompts one after another. An interrupt leaves the rest
/// waiting.
async fn run(shared: Arc<Shared>, session: String) {
    loop {
        let next = {
            let mut state = shared.state();
            let next = state.queues.get_mut(&session).and_then(VecDeque::pop_front);
            let known = state.sessions.entry(session.clone()).or_default();
            known.record.awake = next.is_some();
            if next.is_some() {
                known.status = Some(json!({ "type": "running" }));
            }
            next
        };
        let Some(playing) = next else { return };
        let whole = play::play(&shared, &playing).await;
        let mut state = shared.state();
        let known = state.sessions.entry(session.clone()).or_default();
        known.aborted = false;
        known.record.awake = whole;
        drop(state);
        shared.changed.notify_waiters();
        if !whole {
            return;
        }
    }
}

/// The turn with the words of its prompt.
fn spoken(fixture: &mut Fixture, admission: &Value) {
    if let Some(item) = fixture.events.first_mut().and_then(|event| event["data"].get_mut("item")) {
        item["payload"] = admission["payload"].clone();
        item["delivery"] = admission["delivery"].clone();
    }
}

/// The turn that fails before its first step.
fn without_steps(fixture: &mut Fixture, error: &Value) {
    let before = fixture.events.iter().position(|event| event["type"] == "session.step.started");
    fixture.events.truncate(before.unwrap_or(fixture.events.len()));
    let error = json!({ "type": "provider.no-route", "message": error["data"]["message"] });
    let data = json!({ "sessionID": fixture.session, "error": error });
    let event = json!({
        "id": fixture.late_event(0), "created": 1_795_300_000_000_u64,
        "type": "session.execution.failed", "data": data, "durable": { "version": 1 },
    });
    fixture.events.push(event);
}

/// Whether a prompt is in its session's inbox.
pub(in crate::fake) fn is_waiting(state: &State, session: &str, message: &str) -> bool {
    state.sessions.get(session).is_some_and(|it| it.record.inbox.iter().any(|item| item["id"] == message))
}

/// `POST .../interrupt`: answers before the turn has ended.
pub(super) fn interrupt(shared: &Shared, session: &str) -> Answer {
    let active = shared.state().sessions.get(session).is_some_and(|it| it.status.is_some());
    shared.abort(session);
    ok(&json!({ "interrupted": active }))
}

/// `POST .../wait`: answers once the session rests.
pub(super) async fn wait(shared: &Shared, session: &str) -> Result<Answer, Refusal> {
    loop {
        let changed = shared.changed.notified();
        let mut changed = std::pin::pin!(changed);
        changed.as_mut().enable();
        match shared.state().sessions.get(session) {
            None => return Err(Refusal::not_found("Session", session)),
            Some(known) if known.status.is_none() => return Ok(no_content()),
            Some(_) => {}
        }
        changed.await;
    }
}
