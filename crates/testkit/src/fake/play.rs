//! Plays a turn: its events one by one, waiting where the recording waited.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::fixture::{Fixture, body_key, text};
use super::generation::Generation;
use super::state::{Finish, Item, Shared};
use super::{v1, v2};

/// A turn that is to be played, and who waits for it.
#[derive(Debug)]
pub(super) struct Playing {
    pub(super) fixture: Fixture,
    pub(super) finish: watch::Sender<Option<Finish>>,
    /// Counts the events played.
    pub(super) progress: watch::Sender<usize>,
}

/// Why playing stopped.
enum Stop {
    End,
    Aborted,
    Restarted,
    /// An ask was turned down without a word, which ends a turn of 2.x.
    Silenced,
}

/// Starts the turn that `message` begins in `session`, or finds it again.
/// `progress` counts the events played.
pub(super) fn turn(
    shared: &Arc<Shared>,
    session: &str,
    message: &str,
) -> (watch::Receiver<Option<Finish>>, watch::Receiver<usize>) {
    let key = (session.to_owned(), message.to_owned());
    let (progress, watcher) = watch::channel(0);
    let mut state = shared.state();
    if let Some(known) = state.turns.get(&key) {
        return (known.clone(), watcher);
    }
    let (finish, answer) = watch::channel(None);
    state.tasks.insert(key.clone());
    state.turns.insert(key, answer.clone());
    let known = state.sessions.entry(session.to_owned()).or_default();
    known.aborted = false;
    // Busy at once, so that an abort that comes early finds something.
    known.status = Some(json!({ "type": "busy" }));
    drop(state);
    let playing = Playing { fixture: shared.fixture.rewritten(session, message), finish, progress };
    let shared = Arc::clone(shared);
    tokio::spawn(async move { play(&shared, &playing).await });
    (answer, watcher)
}

/// Plays a turn to its end, and says whether it was left to end by itself.
pub(super) async fn play(shared: &Shared, playing: &Playing) -> bool {
    let Playing { fixture, finish, progress } = playing;
    let stop = events(shared, fixture, progress).await;
    let (result, whole) = match stop {
        Stop::End => (Finish::Answer(fixture.answer.clone()), true),
        Stop::Aborted => match fixture.generation {
            Generation::V1 => (abort(shared, fixture), false),
            Generation::V2 => (v2::interrupted(shared, fixture, "user").await, false),
        },
        Stop::Silenced => (v2::interrupted(shared, fixture, "shutdown").await, false),
        Stop::Restarted => (restart(shared, fixture), false),
    };
    progress.send_replace(usize::MAX);
    finish.send_replace(Some(result));
    whole
}

fn restart(shared: &Shared, fixture: &Fixture) -> Finish {
    let mut state = shared.state();
    state.permissions.clear();
    state.questions.clear();
    state.queues.clear();
    state.sessions.values_mut().for_each(|session| session.status = None);
    // Without an answer begun, the same message sent again begins one.
    let begun = match fixture.generation {
        Generation::V1 => state
            .sessions
            .get(&fixture.session)
            .is_some_and(|it| it.messages.values().any(|message| message.info["role"] == "assistant")),
        Generation::V2 => !v2::is_waiting(&state, &fixture.session, &fixture.message),
    };
    if !begun {
        state.turns.remove(&(fixture.session.clone(), fixture.message.clone()));
    }
    drop(state);
    let _ = shared.stream.send(Item::Cut);
    Finish::Gone
}

async fn events(shared: &Shared, fixture: &Fixture, progress: &watch::Sender<usize>) -> Stop {
    let faults = &shared.faults;
    let mut open: Vec<String> = Vec::new();
    for (index, event) in fixture.events.iter().enumerate() {
        // A daemon goes on telling after it asked, up to where it was answered.
        if let Some(at) = open.iter().position(|id| closes(fixture.generation, event, id)) {
            let id = open.swap_remove(at);
            if let Err(stop) = answered(shared, fixture, &id).await {
                return stop;
            }
        }
        if waits_for_abort(fixture, index) {
            shared.waiting.store(true, Ordering::Relaxed);
            until(shared, &fixture.session, |_| false).await;
            return if matches!(fixture.name.as_str(), "abort" | "provider-500-retry") {
                tokio::time::sleep(faults.cleanup).await;
                rest(shared, fixture, index);
                Stop::End
            } else {
                Stop::Aborted
            };
        }
        if shared.state().sessions.get(&fixture.session).is_some_and(|it| it.aborted) {
            return Stop::Aborted;
        }
        for (_, bytes) in faults.insert.iter().filter(|(at, _)| *at == index) {
            let _ = shared.stream.send(Item::Bytes(bytes.as_slice().into()));
        }
        emit(shared, event);
        progress.send_replace(index + 1);
        if faults.stream_cut_at == Some(index) && !shared.stream_cut_used.swap(true, Ordering::Relaxed) {
            let _ = shared.stream.send(Item::Cut);
        }
        if faults.lock_out_at == Some(index) {
            shared.locked.store(true, Ordering::Relaxed);
        }
        if faults.restart_at == Some(index) && !shared.restart_used.swap(true, Ordering::Relaxed) {
            return Stop::Restarted;
        }
        if let Some(id) = ask_of(fixture.generation, event) {
            let closed_later = fixture.events[index..].iter().any(|it| closes(fixture.generation, it, &id));
            if closed_later {
                open.push(id);
            } else if let Err(stop) = answered(shared, fixture, &id).await {
                return stop;
            }
        }
        if faults.pace.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(faults.pace).await;
        }
    }
    Stop::End
}

/// The recordings that somebody aborted wait for that.
fn waits_for_abort(fixture: &Fixture, index: usize) -> bool {
    let kind = |at: usize| fixture.events.get(at).map(|event| text(&event["type"]));
    match (fixture.generation, fixture.name.as_str()) {
        (Generation::V1, "abort") => kind(index).as_deref() == Some("session.error"),
        (Generation::V1, "provider-500-retry") => {
            index > 0
                && fixture.events[index - 1]["properties"]["status"]["attempt"] == 3
                && kind(index).as_deref() == Some("message.updated")
        }
        (Generation::V2, "abort" | "provider-500-retry") => {
            let ends = |event: &Value| {
                event["data"]["error"]["type"] == "aborted" || event["data"]["reason"] == "user"
            };
            fixture.events.iter().position(ends) == Some(index)
        }
        _ => false,
    }
}

/// The ask that an event tells of.
fn ask_of(generation: Generation, event: &Value) -> Option<String> {
    match event["type"].as_str()? {
        "permission.asked" | "question.asked" => Some(text(&event[body_key(generation)]["id"])),
        "form.created" => Some(text(&event["data"]["form"]["id"])),
        _ => None,
    }
}

/// Whether an event says that the ask `id` is over.
fn closes(generation: Generation, event: &Value, id: &str) -> bool {
    let over =
        ["permission.replied", "question.replied", "question.rejected", "form.replied", "form.cancelled"];
    let body = &event[body_key(generation)];
    event["type"].as_str().is_some_and(|it| over.contains(&it))
        && (body["requestID"] == id || body["id"] == id)
}

/// Waits until the ask `id` is answered; what ends the turn instead is the error.
async fn answered(shared: &Shared, fixture: &Fixture, id: &str) -> Result<(), Stop> {
    if !until(shared, &fixture.session, |shared| !is_pending(shared, id)).await {
        return Err(Stop::Aborted);
    }
    // That one tells its own end.
    let silenced = shared.state().silenced.contains(id);
    if silenced && fixture.name != "permission-reject-silent" { Err(Stop::Silenced) } else { Ok(()) }
}

fn is_pending(shared: &Shared, id: &str) -> bool {
    let state = shared.state();
    state.permissions.iter().chain(&state.questions).any(|ask| ask["id"] == id)
}

/// Waits for `condition`; `false` if the session is aborted instead.
async fn until(shared: &Shared, session: &str, condition: impl Fn(&Shared) -> bool) -> bool {
    loop {
        let changed = shared.changed.notified();
        let mut changed = std::pin::pin!(changed);
        changed.as_mut().enable();
        if shared.state().sessions.get(session).is_some_and(|it| it.aborted) {
            return false;
        }
        if condition(shared) {
            return true;
        }
        changed.await;
    }
}

fn rest(shared: &Shared, fixture: &Fixture, from: usize) {
    fixture.events[from..].iter().for_each(|event| emit(shared, event));
}

/// What the real daemon of 1.x does when a turn is aborted.
fn abort(shared: &Shared, fixture: &Fixture) -> Finish {
    let error = json!({ "name": "MessageAbortedError", "data": { "message": "Aborted" } });
    let last = {
        let mut state = shared.state();
        state.permissions.clear();
        state.questions.clear();
        let messages = state.sessions.get(&fixture.session).map(|it| it.messages.clone()).unwrap_or_default();
        messages.into_values().rev().find(|it| it.info["parentID"] == fixture.message.as_str())
    };
    emit(
        shared,
        &json!({ "type": "session.error", "properties": { "sessionID": fixture.session, "error": error } }),
    );
    let mut answer = last.map_or_else(|| fixture.answer["info"].clone(), |message| message.info);
    answer["time"]["completed"] = json!(1);
    answer["error"] = error;
    let info = json!({ "sessionID": fixture.session, "info": answer });
    emit(shared, &json!({ "type": "message.updated", "properties": info }));
    for _ in 0..2 {
        emit(shared, &json!({ "type": "session.idle", "properties": { "sessionID": fixture.session } }));
    }
    Finish::Answer(json!({ "info": answer, "parts": [] }))
}

/// Lets an event happen: the fake knows it, and its streams tell it. What begins
/// with `fake.` happens untold.
pub(super) fn emit(shared: &Shared, event: &Value) {
    let event = match shared.generation() {
        Generation::V1 => v1::commit(&mut shared.state(), event),
        Generation::V2 => v2::commit(&mut shared.state(), event),
    };
    if event["type"].as_str().is_some_and(|kind| kind.starts_with("fake.")) {
        return;
    }
    let end = if shared.faults.crlf { "\r\n" } else { "\n" };
    let bytes: Arc<[u8]> = format!("data: {event}{end}{end}").into_bytes().into();
    let mut held = shared.held.lock().unwrap_or_else(PoisonError::into_inner);
    if shared.faults.reorder && held.is_none() {
        *held = Some(bytes);
        return;
    }
    for _ in 0..=usize::from(shared.faults.duplicate) {
        let _ = shared.stream.send(Item::Bytes(Arc::clone(&bytes)));
    }
    if let Some(earlier) = held.take() {
        let _ = shared.stream.send(Item::Bytes(earlier));
    }
}
