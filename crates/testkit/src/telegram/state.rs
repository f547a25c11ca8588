//! What the fake remembers.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::limit::Limits;

/// What happens to a call instead of what was asked.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Telegram's refusal: code, description, and the wait it names.
    Refuse(u16, &'static str, Option<u16>),
    /// The group became a supergroup with this id.
    Moved(i64),
    /// No JSON, as a gateway answers.
    Gateway,
    /// The connection breaks before the answer; nothing was done.
    Cut,
    /// It is done, and the connection breaks before the answer is there.
    CutAfter,
    /// No answer for this long, then the real one.
    Slow(Duration),
}

/// A message of the bot, as it stands on the screen.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// The chat.
    pub chat: i64,
    /// The topic it is in.
    pub topic: Option<i64>,
    /// Its id.
    pub id: i32,
    /// Its text or caption.
    pub text: String,
    /// Its styles.
    pub entities: Value,
    /// The labels of its buttons, in rows.
    pub buttons: Vec<Vec<String>>,
    /// What the buttons carry, in the same rows.
    pub data: Vec<Vec<String>>,
    /// The message it answers.
    pub answers: Option<i32>,
    /// The name and content of its document.
    pub document: Option<(String, String)>,
    /// How often it was edited.
    pub edits: usize,
}

/// One call of the bot.
#[derive(Debug, Clone)]
pub struct Called {
    /// The method.
    pub method: String,
    /// Its parameters.
    pub params: Value,
    /// The status it was answered with.
    pub status: u16,
    /// When.
    pub at: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) updates: Vec<(u32, Value)>,
    sent: Vec<(u32, Value)>,
    pub(super) screen: Vec<Shown>,
    pub(super) calls: Vec<Called>,
    /// The method, the message if only one is meant, and what happens.
    pub(super) faults: Vec<(String, Option<i32>, Fault)>,
    pub(super) limits: Limits,
    /// The webhook's address; empty is none.
    pub(super) webhook: String,
    pub(super) webhook_error: (u64, String),
    /// What people sent, by its id.
    pub(super) files: Vec<Vec<u8>>,
    /// Counts requests for updates: a newer one ends the one before.
    pub(super) polling: u64,
    pub(super) open_queries: Vec<String>,
    pub(super) last_update: u32,
    last_message: i32,
    last_query: u64,
}

impl Shared {
    pub(super) fn change<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut state);
        drop(state);
        self.changes.send_replace(());
        result
    }

    pub(super) fn look<T>(&self, work: impl FnOnce(&State) -> T) -> T {
        work(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    pub(super) fn next_message(&mut self, _chat: i64) -> i32 {
        self.last_message += 1;
        self.last_message
    }

    pub(super) fn next_query(&mut self) -> String {
        self.last_query += 1;
        let id = format!("query-{}", self.last_query);
        self.open_queries.push(id.clone());
        id
    }

    pub(super) fn push_update(&mut self, mut update: Value) -> u32 {
        if let Some(given) = update.get("update_id").and_then(Value::as_u64) {
            self.last_update = u32::try_from(given).unwrap_or(u32::MAX);
        } else {
            self.last_update += 1;
            update["update_id"] = json!(self.last_update);
        }
        self.sent.push((self.last_update, update.clone()));
        self.updates.push((self.last_update, update));
        self.last_update
    }

    pub(super) fn redeliver(&mut self, number: u32) {
        let again = self.sent.iter().find(|(sent, _)| *sent == number).cloned();
        self.updates.extend(again);
    }

    pub(super) fn button(&self, chat: i64, message: i32, label: &str) -> Option<String> {
        let shown = self.screen.iter().find(|shown| shown.chat == chat && shown.id == message)?;
        let labels = shown.buttons.iter().flatten();
        labels
            .zip(shown.data.iter().flatten())
            .find(|(it, _)| it.contains(label))
            .map(|(_, data)| data.clone())
    }

    pub(super) fn take_fault(&mut self, method: &str, message: Option<i64>) -> Option<Fault> {
        let at = self.faults.iter().position(|(wanted, only, _)| {
            (wanted == method || wanted == "*") && only.is_none_or(|only| message == Some(only.into()))
        })?;
        Some(self.faults.remove(at).2)
    }
}
