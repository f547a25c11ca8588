//! What the fake knows: sessions, folded from the events that were played.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::{Notify, broadcast, watch};

use super::fault::Faults;
use super::fixture::{Fixture, text};

/// What event streams are told.
#[derive(Debug, Clone)]
pub(super) enum Item {
    Bytes(Arc<[u8]>),
    Cut,
}

/// How a turn's request is answered in the end.
#[derive(Debug, Clone)]
pub(super) enum Finish {
    Answer(Value),
    /// The daemon restarted: there is nobody to answer.
    Gone,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) fixture: Fixture,
    pub(super) faults: Faults,
    pub(super) stream: broadcast::Sender<Item>,
    /// Wakes players when an ask was answered or a session aborted.
    pub(super) changed: Notify,
    pub(super) state: Mutex<State>,
    pub(super) open_streams: AtomicUsize,
    pub(super) locked: AtomicBool,
    pub(super) prompt_fault_used: AtomicBool,
    pub(super) stream_cut_used: AtomicBool,
    pub(super) restart_used: AtomicBool,
    /// An event that waits for the next one to go first.
    pub(super) held: Mutex<Option<Arc<[u8]>>>,
    pub(super) closed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) sessions: BTreeMap<String, Session>,
    pub(super) turns: HashMap<(String, String), watch::Receiver<Option<Finish>>>,
    /// Every task it was ever asked to run: session and message.
    pub(super) tasks: HashSet<(String, String)>,
    pub(super) permissions: Vec<Value>,
    pub(super) questions: Vec<Value>,
    pub(super) requests: Vec<(String, Value)>,
    next: u64,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Session {
    pub(super) info: Value,
    pub(super) status: Option<Value>,
    pub(super) messages: BTreeMap<String, Message>,
    pub(super) aborted: bool,
    pub(super) children: Vec<Value>,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Message {
    pub(super) info: Value,
    pub(super) parts: Vec<Value>,
}

impl Shared {
    pub(super) fn new(fixture: Fixture, faults: Faults) -> Self {
        Self {
            fixture,
            faults,
            stream: broadcast::Sender::new(1 << 15),
            changed: Notify::new(),
            state: Mutex::default(),
            open_streams: AtomicUsize::new(0),
            locked: AtomicBool::new(false),
            prompt_fault_used: AtomicBool::new(false),
            stream_cut_used: AtomicBool::new(false),
            restart_used: AtomicBool::new(false),
            held: Mutex::default(),
            closed: watch::Sender::new(false),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tasks(&self) -> usize {
        self.state().tasks.len()
    }

    pub(super) fn running(&self) -> usize {
        self.state().sessions.values().filter(|session| session.status.is_some()).count()
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.state().requests.iter().map(|(line, _)| line.clone()).collect()
    }

    pub(super) fn bodies(&self, prefix: &str) -> Vec<Value> {
        let state = self.state();
        state
            .requests
            .iter()
            .filter(|(line, _)| line.starts_with(prefix))
            .map(|(_, body)| body.clone())
            .collect()
    }

    pub(super) fn streams(&self) -> usize {
        self.open_streams.load(Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        self.closed.send_replace(true);
    }

    pub(super) fn answer_all(&self) -> bool {
        let mut state = self.state();
        let some = !state.permissions.is_empty() || !state.questions.is_empty();
        state.permissions.clear();
        state.questions.clear();
        drop(state);
        self.changed.notify_waiters();
        some
    }

    pub(super) fn abort_all(&self) {
        let sessions: Vec<String> = self.state().sessions.keys().cloned().collect();
        for session in &sessions {
            self.abort(session);
        }
    }

    pub(super) fn abort(&self, session: &str) {
        if let Some(session) = self.state().sessions.get_mut(session)
            && session.status.is_some()
        {
            session.aborted = true;
        }
        self.changed.notify_waiters();
    }

    /// Removes an ask that is answered. Returns whether it was pending.
    pub(super) fn answer(&self, id: &str) -> bool {
        let mut state = self.state();
        let before = state.permissions.len() + state.questions.len();
        state.permissions.retain(|ask| ask["id"] != id);
        state.questions.retain(|ask| ask["id"] != id);
        let answered = state.permissions.len() + state.questions.len() < before;
        drop(state);
        self.changed.notify_waiters();
        answered
    }

    pub(super) fn create(&self, body: &Value, directory: &str) -> Value {
        let mut state = self.state();
        state.next += 1;
        let id = format!("ses_fake{:08}0000000000000000", state.next);
        // Later than the recordings, earlier than any clock that is right.
        let time = json!({ "created": 1_795_300_000_000_u64 + state.next });
        let mut info = json!({
            "id": id, "directory": directory, "title": body["title"], "version": "1.18.33", "time": time,
        });
        if body["permission"].is_array() {
            info["permission"] = body["permission"].clone();
        }
        state.sessions.insert(id, Session { info: info.clone(), ..Session::default() });
        info
    }
}

impl State {
    /// Folds one event into what the fake knows.
    pub(super) fn apply(&mut self, event: &Value) {
        let properties = &event["properties"];
        let session = text(&properties["sessionID"]);
        match event["type"].as_str().unwrap_or_default() {
            "message.updated" => {
                let info = &properties["info"];
                self.message(&session, &text(&info["id"])).info = info.clone();
            }
            "message.part.updated" => {
                let part = &properties["part"];
                let parts = &mut self.message(&session, &text(&part["messageID"])).parts;
                match parts.iter_mut().find(|it| it["id"] == part["id"]) {
                    Some(known) => *known = part.clone(),
                    None => parts.push(part.clone()),
                }
            }
            "session.status" => {
                let status = &properties["status"];
                let known = (status["type"] != "idle").then(|| status.clone());
                self.session(&session).status = known;
            }
            "session.idle" => self.session(&session).status = None,
            "permission.asked" => self.permissions.push(properties.clone()),
            "question.asked" => self.questions.push(properties.clone()),
            "session.created" | "fake.child" => {
                let parent = text(&properties["info"]["parentID"]);
                self.session(&parent).children.push(properties["info"].clone());
            }
            _ => {}
        }
    }

    fn session(&mut self, id: &str) -> &mut Session {
        self.sessions.entry(id.to_owned()).or_default()
    }

    fn message(&mut self, session: &str, id: &str) -> &mut Message {
        self.session(session).messages.entry(id.to_owned()).or_default()
    }
}
