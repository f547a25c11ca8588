//! A Bot API on loopback: real HTTP, long polling, Telegram's limits and refusals.
//!
//! People are methods here: [`write`](FakeTelegram::write) a message,
//! [`tap`](FakeTelegram::tap) a button that is on the screen. What the bot did is
//! on the [screen](FakeTelegram::screen) and in the [calls](FakeTelegram::calls).
//! [`Fault`]s are put in front of methods; rate limits are Telegram's once
//! [`strict`](FakeTelegram::strict) is called. It has a thread and a runtime of
//! its own.

mod form;
mod limit;
mod method;
mod server;
mod state;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;

pub use state::{Called, Fault, Shown};
use state::{Shared, State};

/// The token of the fake's bot.
pub const TOKEN: &str = "7000000001:FAKE-TOKEN-nobody-may-ever-see-this";

/// The bot's user id.
pub const BOT: u64 = 7_000_000_001;

/// How long a test waits for something that should happen.
const LIMIT: Duration = Duration::from_mins(1);

/// The running server. Dropping it ends it.
#[derive(Debug)]
pub struct FakeTelegram {
    address: SocketAddr,
    shared: Arc<Shared>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl FakeTelegram {
    /// Starts a server on a free port of 127.0.0.1.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let (end, ended) = oneshot::channel();
        let router = server::router(Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("fake-telegram".into())
            .spawn(move || server::run(listener, router, ended))?;
        Ok(Self { address, shared, end: Some(end), thread: Some(thread) })
    }

    /// What `api_base` is set to.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it refuses what Telegram would: more than one message a second
    /// in a chat, twenty a minute in a group, thirty a second in all.
    pub fn strict(&self) {
        self.change(|state| state.limits.strict = true);
    }

    /// Somebody else sets a webhook for the bot, or did so earlier.
    pub fn set_webhook(&self) {
        self.change(|state| "https://other.example/hook".clone_into(&mut state.webhook));
    }

    /// Bringing updates to the webhook failed `at` that time, in seconds since 1970.
    pub fn fail_webhook(&self, at: u64, reason: &str) {
        self.change(|state| state.webhook_error = (at, reason.to_owned()));
    }

    /// Puts `fault` in front of the next `times` calls of `method`; `*` is any.
    pub fn fault(&self, method: &str, times: usize, fault: &Fault) {
        self.put_fault(method, None, times, fault);
    }

    /// The same for calls about one message: those about others pass.
    pub fn fault_at(&self, message: i32, method: &str, times: usize, fault: &Fault) {
        self.put_fault(method, Some(message), times, fault);
    }

    fn put_fault(&self, method: &str, message: Option<i32>, times: usize, fault: &Fault) {
        self.change(|state| {
            for _ in 0..times {
                state.faults.push((method.to_owned(), message, fault.clone()));
            }
        });
    }

    /// Whatever [`fault`](Self::fault) put in front of calls is gone.
    pub fn heal(&self) {
        self.change(|state| state.faults.clear());
    }

    /// Somebody writes in a chat; a person's private chat has their own id.
    pub fn write(&self, user: u64, chat: i64, text: &str) -> u32 {
        self.message(user, chat, text, &json!({}))
    }

    /// Somebody answers a message of the bot.
    pub fn reply(&self, user: u64, chat: i64, message: i32, text: &str) -> u32 {
        let answered = json!({
            "message_id": message, "date": 1, "chat": chat_of(chat),
            "from": { "id": BOT, "is_bot": true, "first_name": "bot", "username": "fake_bot" },
        });
        self.message(user, chat, text, &json!({ "reply_to_message": answered }))
    }

    /// A message with more fields than a plain one has.
    pub fn message(&self, user: u64, chat: i64, text: &str, more: &Value) -> u32 {
        self.change(|state| {
            let message_id = state.next_message(chat);
            let mut message = json!({
                "message_id": message_id, "date": 1_700_000_000, "text": text, "chat": chat_of(chat),
                "from": person(user),
            });
            if let (Some(message), Some(more)) = (message.as_object_mut(), more.as_object()) {
                message.extend(more.clone());
            }
            state.push_update(json!({ "message": message }))
        })
    }

    /// Somebody sends a document with a caption.
    pub fn document(&self, user: u64, chat: i64, caption: &str, name: &str, content: &[u8]) -> u32 {
        let id = self.upload(content);
        let document = json!({
            "file_id": id, "file_unique_id": id, "file_name": name, "mime_type": "application/octet-stream",
            "file_size": content.len(),
        });
        self.message(user, chat, "", &json!({ "text": null, "caption": caption, "document": document }))
    }

    /// Somebody sends a photo with a caption.
    pub fn photo(&self, user: u64, chat: i64, caption: &str, content: &[u8]) -> u32 {
        let id = self.upload(content);
        let photo = json!([{ "file_id": id, "file_unique_id": id, "width": 1, "height": 1 }]);
        self.message(user, chat, "", &json!({ "text": null, "caption": caption, "photo": photo }))
    }

    /// Puts a file there; its `file_id`.
    pub fn upload(&self, content: &[u8]) -> String {
        self.change(|state| {
            state.files.push(content.to_vec());
            (state.files.len() - 1).to_string()
        })
    }

    /// Somebody taps the button with this label on a message of the bot.
    ///
    /// # Panics
    ///
    /// When the message has no such button.
    #[expect(clippy::panic, reason = "a test that taps what is not there has failed")]
    pub fn tap(&self, user: u64, chat: i64, message: i32, label: &str) -> u32 {
        let data = self.change(|state| state.button(chat, message, label));
        match data {
            Some(data) => self.tap_data(user, chat, message, &data),
            None => panic!("no button `{label}` on {message}: {:#?}", self.screen(chat)),
        }
    }

    /// A tap with any data, as a forged client sends it.
    pub fn tap_data(&self, user: u64, chat: i64, message: i32, data: &str) -> u32 {
        self.change(|state| {
            let query = state.next_query();
            let message = json!({ "message_id": message, "date": 1, "chat": chat_of(chat), "text": "…" });
            let query = json!({
                "id": query, "from": person(user), "chat_instance": "1", "data": data, "message": message,
            });
            state.push_update(json!({ "callback_query": query }))
        })
    }

    /// Any update; its number is put in unless it has one.
    pub fn update(&self, update: Value) -> u32 {
        self.change(|state| state.push_update(update))
    }

    /// After a quiet week the next update's number is any; here, `number`.
    pub fn count_from(&self, number: u32) {
        self.change(|state| state.last_update = number.saturating_sub(1));
    }

    /// Sends an update again that was sent before.
    pub fn redeliver(&self, update: u32) {
        self.change(|state| state.redeliver(update));
    }

    /// What the chat shows of the bot now, oldest first.
    pub fn screen(&self, chat: i64) -> Vec<Shown> {
        self.shared.look(|state| state.screen.iter().filter(|shown| shown.chat == chat).cloned().collect())
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Called> {
        self.shared.look(|state| state.calls.clone())
    }

    /// Whether anybody asked for updates yet.
    pub fn is_polled(&self) -> bool {
        self.shared.look(|state| state.polling > 0)
    }

    /// How many updates were not acknowledged yet.
    pub fn unacknowledged(&self) -> usize {
        self.shared.look(|state| state.updates.len())
    }

    /// Waits until `look` finds something on the screen of `chat`.
    ///
    /// # Panics
    ///
    /// After a minute, with the screen.
    #[expect(clippy::panic, reason = "a test that waits in vain has failed")]
    pub async fn wait<T>(&self, chat: i64, look: impl Fn(&[Shown]) -> Option<T>) -> T {
        let mut changes = self.shared.changes.subscribe();
        let seen = async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = look(&self.screen(chat)) {
                    return found;
                }
                // The sender lives as long as `self`.
                let _ = changes.changed().await;
            }
        };
        let Ok(found) = tokio::time::timeout(LIMIT, seen).await else {
            panic!("it never showed; the screen of {chat}: {:#?}", self.screen(chat));
        };
        found
    }

    /// Waits, at most `limit`, until `look` finds something on all screens.
    ///
    /// # Panics
    ///
    /// After `limit`.
    #[expect(clippy::panic, reason = "a test that waits in vain has failed")]
    pub async fn wait_everywhere<T>(
        &self,
        limit: Duration,
        mut look: impl FnMut(&[Shown]) -> Option<T>,
    ) -> T {
        let mut changes = self.shared.changes.subscribe();
        let seen = async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = self.shared.look(|state| look(&state.screen)) {
                    return found;
                }
                // The sender lives as long as `self`.
                let _ = changes.changed().await;
            }
        };
        let Ok(found) = tokio::time::timeout(limit, seen).await else {
            panic!("it never showed; there are {} messages", self.shared.look(|state| state.screen.len()));
        };
        found
    }

    /// Waits for a message of the bot that contains `text`.
    pub async fn wait_for(&self, chat: i64, text: &str) -> Shown {
        self.wait(chat, |screen| screen.iter().rev().find(|shown| shown.text.contains(text)).cloned()).await
    }

    /// Waits until every update was acknowledged.
    ///
    /// # Panics
    ///
    /// After a minute.
    pub async fn wait_until_acknowledged(&self) {
        let mut changes = self.shared.changes.subscribe();
        let all = async {
            while self.unacknowledged() > 0 {
                // The sender lives as long as `self`.
                let _ = changes.changed().await;
            }
        };
        let done = tokio::time::timeout(LIMIT, all).await.is_ok();
        assert!(done, "{} updates were never acknowledged", self.unacknowledged());
    }

    fn change<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        self.shared.change(work)
    }
}

impl Drop for FakeTelegram {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn chat_of(chat: i64) -> Value {
    if chat > 0 {
        json!({ "id": chat, "type": "private", "first_name": "P" })
    } else {
        json!({ "id": chat, "type": "supergroup", "title": "Group" })
    }
}

fn person(user: u64) -> Value {
    json!({ "id": user, "is_bot": false, "first_name": format!("U{user}"), "username": format!("user{user}") })
}
