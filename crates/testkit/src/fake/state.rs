//! What the fake knows: sessions, folded from the events that were played.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::{Notify, broadcast, watch};

use super::fault::Faults;
use super::fixture::Fixture;
use super::generation::{Generation, matches};
use super::play::Playing;
use super::v2::Record;

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
    /// A turn waits for somebody to abort it.
    pub(super) waiting: AtomicBool,
    /// Requests that still find it starting.
    pub(super) starting: AtomicUsize,
    pub(super) cold: AtomicBool,
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
    /// Asks of 2.x that were turned down without a word, which ends the turn.
    pub(super) silenced: HashSet<String>,
    /// Prompts of 2.x that wait for their session.
    pub(super) queues: HashMap<String, VecDeque<Playing>>,
    /// Forms of 2.x that were answered or cancelled.
    pub(super) settled: HashSet<String>,
    pub(super) requests: Vec<(String, Value)>,
    pub(super) next: u64,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Session {
    pub(super) info: Value,
    pub(super) status: Option<Value>,
    pub(super) messages: BTreeMap<String, Message>,
    pub(super) aborted: bool,
    pub(super) children: Vec<Value>,
    /// What only 2.x has.
    pub(super) record: Record,
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
            stream: broadcast::Sender::new(1 << 15),
            changed: Notify::new(),
            state: Mutex::default(),
            open_streams: AtomicUsize::new(0),
            locked: AtomicBool::new(false),
            prompt_fault_used: AtomicBool::new(false),
            stream_cut_used: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            starting: AtomicUsize::new(faults.starting),
            cold: AtomicBool::new(faults.cold_models),
            restart_used: AtomicBool::new(false),
            held: Mutex::default(),
            closed: watch::Sender::new(false),
            faults,
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

    pub(super) fn bodies(&self, pattern: &str) -> Vec<Value> {
        let state = self.state();
        state
            .requests
            .iter()
            .filter(|(line, _)| matches(pattern, line))
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

    pub(super) fn generation(&self) -> Generation {
        self.fixture.generation
    }

    pub(super) fn password(&self) -> Option<&str> {
        self.faults.password.as_deref().or(self.generation().password())
    }

    pub(super) fn version(&self) -> &str {
        self.faults.version.as_deref().unwrap_or(self.generation().version())
    }
}
