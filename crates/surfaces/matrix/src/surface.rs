//! Matrix as a surface: cards that are decided by a reaction or a reply, live status, results.
//!
//! A card is an event of its own, whose content says which step and digest it showed, so that a reaction
//! to it or a reply is about that; whoever is asked anew gets a new event. What is sent has a
//! transaction id made of what it is, so that what was sent and not recorded is sent again as the same event.
//!
//! What came in is durable before more is asked for. It decides nothing: the gate says whose reaction
//! counts, and [`Allow`](crate::Allow) whose events come in and where the bot speaks.

mod asks;
mod deliver;
mod intake;
mod live;
pub(crate) mod mark;
mod membership;
mod pace;
mod render;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::{ConnectorError, Progress};
use connector_gate::ask::Answer;
use connector_gate::ids::StepId;
use connector_gate::policy::Actor;
use connector_surface::flood::Flood;
use connector_surface::view::Standing;
use connector_surface::{DeliveryError, Inbox, OpenAsk, Reported, Surface, SurfaceError, View, words};
use data_encoding::HEXLOWER;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{Api, ApiError, persist};
use crate::config::Settings;
use crate::connector::MatrixConnector;
use crate::id::{ChatKey, EventId, RoomId, UserId};
use crate::rooms::Rooms;
use crate::text;

pub use mark::of_reaction as decision_of_reaction;

/// The surface's name, the first part of its users' names.
pub const NAME: &str = "matrix";

/// How long a sending is tried at a time: what goes to the other rooms waits for it.
const LIMIT: Duration = Duration::from_secs(15);

/// Matrix as a surface. Cheap to clone; clones are handles to the same one.
#[derive(Clone)]
pub struct Matrix(Arc<Inner>);

struct Inner {
    api: Api,
    rooms: Arc<Rooms>,
    settings: Settings,
    /// The connector rules know its messages by.
    connector_name: String,
    connector: Arc<MatrixConnector>,
    inbox: Mutex<Option<Inbox>>,
    live: live::Live,
    asks: asks::Asks,
    flood: Flood<EventId, RoomId, UserId>,
    reactions: Flood<EventId, RoomId, UserId>,
    /// Whose turn it is to send: a server's limit is one for the whole account.
    turn: tokio::sync::Mutex<()>,
    pace: Mutex<pace::Pace>,
    dealing: membership::Dealing,
    /// Cancelled once it is known how the rooms stand, so that nothing goes to one that was replaced meanwhile.
    rooms_known: CancellationToken,
    tasks: TaskTracker,
    finishing: CancellationToken,
}

impl Matrix {
    /// A surface for checked settings, whose messages are events of `connector_name`. Nothing happens
    /// until it is run.
    pub fn new(settings: Settings, connector_name: &str) -> Result<Self, ConnectorError> {
        let api = settings.api()?;
        Ok(Self(Arc::new(Inner {
            rooms: Arc::new(Rooms::new(api.clone(), settings.user.clone(), settings.allow.clone())),
            api,
            connector: Arc::new(MatrixConnector::new(settings.clone())?),
            settings,
            connector_name: connector_name.to_owned(),
            inbox: Mutex::default(),
            live: live::Live::default(),
            asks: asks::Asks::default(),
            flood: Flood::default(),
            reactions: Flood::default(),
            turn: tokio::sync::Mutex::default(),
            pace: Mutex::default(),
            dealing: membership::Dealing::default(),
            rooms_known: CancellationToken::new(),
            tasks: TaskTracker::new(),
            finishing: CancellationToken::new(),
        })))
    }

    /// The connector behind it, for rules that send messages themselves.
    pub fn connector(&self) -> Arc<MatrixConnector> {
        self.0.connector.clone()
    }

    fn inbox(&self) -> Result<Inbox, DeliveryError> {
        locked(&self.0.inbox).clone().ok_or_else(|| DeliveryError::Later("it does not run yet".to_owned()))
    }

    /// Sends an event, where the configuration lets the bot speak and when it is its turn.
    async fn send(&self, chat: &ChatKey, transaction: &str, content: &Value) -> Result<EventId, ApiError> {
        let _turn = self.0.turn.lock().await;
        let (now, due) = (Instant::now(), locked(&self.0.pace).due(Instant::now()));
        if due > now + LIMIT {
            return Err(ApiError::Throttled { after: due - now });
        }
        tokio::time::sleep_until(due).await;
        // Now, and not before: somebody may have come into the room while others were sent to.
        self.0.rooms.check(&chat.room).await?;
        let sending = || self.put(&chat.room, transaction, content);
        persist(Instant::now() + LIMIT, sending).await.map_err(|given_up| given_up.error)
    }

    /// Asks the server once to take an event.
    async fn put(&self, room: &RoomId, transaction: &str, content: &Value) -> Result<EventId, ApiError> {
        let asked = Instant::now();
        let sent = self.0.api.send(room, "m.room.message", transaction, content).await;
        locked(&self.0.pace).note(asked, &sent);
        sent
    }

    /// Keeps a text as a file; the content of the event that shows it.
    async fn kept(&self, name: &str, whole: &str) -> Result<Value, ApiError> {
        let bytes = bytes::Bytes::from(whole.to_owned());
        let keeping = persist(Instant::now() + LIMIT, || self.0.api.upload(name, bytes.clone()));
        let url = keeping.await.map_err(|given_up| given_up.error)?;
        Ok(text::file(name, "", &url, whole.len()))
    }

    /// Changes what an event of the bot's shows.
    async fn replace(&self, chat: &ChatKey, event: &EventId, new: &Value) -> Result<(), ApiError> {
        let transaction = format!("edit.{}", hashed(&[event.as_str(), &new.to_string()]));
        self.send(chat, &transaction, &text::replacing(event, new)).await.map(drop)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hashed(parts: &[&str]) -> String {
    HEXLOWER.encode(&Sha256::digest(parts.join("\0"))[..12])
}

#[async_trait]
impl Surface for Matrix {
    fn name(&self) -> &str {
        NAME
    }

    async fn run(&self, inbox: Inbox, stop: CancellationToken) -> Result<(), SurfaceError> {
        if self.0.finishing.is_cancelled() {
            return Err(SurfaceError { reason: "it has finished, and is not run again".to_owned() });
        }
        *locked(&self.0.inbox) = Some(inbox.clone());
        let this = self.clone();
        self.0.tasks.spawn(async move { this.show_live().await });
        self.take_in(&inbox, &stop).await
    }

    async fn finish(&self) {
        self.0.finishing.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    async fn deliver(&self, chat: &str, parcel: i64, view: View) -> Result<String, DeliveryError> {
        let chat: ChatKey = match chat.parse() {
            Ok(chat) => chat,
            Err(error) => {
                tracing::error!(%error, "a message for no room of matrix is dropped");
                return Ok(String::new());
            }
        };
        let inbox = self.inbox()?;
        self.has_not_moved(&chat).await?;
        self.show(&inbox, &chat, parcel, view).await
    }

    async fn changed(&self, chat: &str, standing: &Standing) -> Result<(), DeliveryError> {
        let Ok(chat) = chat.parse() else { return Ok(()) };
        self.redraw(&self.inbox()?, &chat, standing).await
    }

    fn admits(&self, chat: &str) -> Result<(), String> {
        self.0.settings.allow.names(chat)
    }

    fn keeps_cards(&self) -> bool {
        true
    }

    fn takes_answers(&self) -> bool {
        true
    }

    fn connector_name(&self) -> &str {
        &self.0.connector_name
    }

    fn unanswered(&self, reported: Reported<'_>) -> Option<String> {
        // In company, what fires no rule was not said to the bot.
        let private = reported.payload["chat_type"] == "private";
        (private && reported.trigger == "message_received").then(|| words::NO_RULE.to_owned())
    }

    fn asks_for_words(&self, _reported: Reported<'_>, command: &str) -> Option<String> {
        Some(words::wants_words(command))
    }

    fn progress(&self, chat: &str, step: StepId, progress: &Progress) {
        if let Ok(chat) = chat.parse() {
            self.0.live.note(chat, step, progress);
        }
    }

    fn ask(&self, chat: &str, ask: &OpenAsk) {
        let Ok(chat) = chat.parse() else { return };
        let (this, ask) = (self.clone(), ask.clone());
        self.0.tasks.spawn(async move { this.open_ask(chat, ask).await });
    }

    fn ask_answered(&self, chat: &str, ask: &OpenAsk, answer: &Answer, by: &Actor) {
        self.close_ask(chat, ask.number, Some((Some(answer.words()), by)));
    }

    fn ask_closed(&self, chat: &str, ask: &OpenAsk, by: Option<&Actor>) {
        self.close_ask(chat, ask.number, by.map(|by| (None, by)));
    }
}
