//! Telegram as a surface: cards with buttons, live status, results, asks.
//!
//! A card is a message; it becomes the status while its step runs and the
//! headline when it ended, and the agent's reply answers it, so that the phone
//! rings. What is shown is rendered by pure functions from rows; what is tapped
//! carries the card's own token and the head of its digest, and means something
//! only in the chat the card is in.
//!
//! An update is acknowledged after its row is durable. It decides nothing: the
//! gate says whose tap counts, and `connector_telegram` whose updates come in.

mod asks;
mod buttons;
mod commands;
mod files;
mod intake;
mod live;
mod pace;
mod parcel;
mod render;
mod run;
mod send;
mod split;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use connector_contract::{ConnectorError, Progress};
use connector_gate::ask::Answer;
use connector_gate::clock::{Clock, Millis};
use connector_gate::ids::StepId;
use connector_gate::policy::Actor;
use connector_ledger::LedgerError;
use connector_surface::flood::Flood;
use connector_surface::view::Standing;
use connector_surface::{DeliveryError, Inbox, OpenAsk, Reported, Surface, SurfaceError, View, words};
use connector_telegram::update::{Allow, Me};
use connector_telegram::{Api, ChatKey, Settings, TelegramConnector};
use parcel::Parcel;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use connector_engine::Engine;

pub use render::{Part, Rendered, ask_over, card, parts, permission, question, result, status};

/// The surface's name, the first part of its users' names.
pub const NAME: &str = "telegram";

/// What an edited message is answered with that no rule fires on.
const EDITED: &str = "what was written first counts, and an edit changes nothing; \
    write it as a new message, or in reply to the result";

/// How many files are fetched at once.
const FETCHES: usize = 4;

/// Telegram as a surface. Cheap to clone; clones are handles to the same one.
#[derive(Clone)]
pub struct Telegram(Arc<Inner>);

struct Inner {
    api: Api,
    flood: Flood<u32, i64, u64>,
    /// The chats that are being told that it is too much.
    warned: Mutex<HashSet<i64>>,
    settings: Settings,
    /// The connector rules know its messages by.
    connector_name: String,
    connector: Arc<TelegramConnector>,
    clock: Clock,
    inbox: Mutex<Option<Inbox>>,
    me: OnceLock<Me>,
    health: connector_telegram::poll::Health,
    live: live::Live,
    asks: asks::Asks,
    /// The updates that answered an ask.
    answers: intake::Answers,
    pace: pace::Pace,
    /// A turn for each file that is fetched: they are held in memory.
    fetches: Semaphore,
    tasks: TaskTracker,
    finishing: CancellationToken,
}

impl Telegram {
    /// A surface for checked settings, whose messages are events of
    /// `connector_name`. Nothing happens until it is run.
    pub fn new(settings: Settings, connector_name: &str, clock: Clock) -> Result<Self, ConnectorError> {
        Self::at(pace::Pace::default(), settings, connector_name, clock)
    }

    /// The same, a hundred times as fast as Telegram allows: for a Bot API without limits.
    #[cfg(feature = "failpoints")]
    pub fn in_haste(settings: Settings, connector_name: &str, clock: Clock) -> Result<Self, ConnectorError> {
        Self::at(pace::Pace::in_haste(100.0), settings, connector_name, clock)
    }

    fn at(
        pace: pace::Pace,
        settings: Settings,
        connector_name: &str,
        clock: Clock,
    ) -> Result<Self, ConnectorError> {
        let connector = Arc::new(TelegramConnector::new(settings.clone())?);
        Ok(Self(Arc::new(Inner {
            api: settings.api()?,
            flood: Flood::default(),
            warned: Mutex::default(),
            settings,
            connector_name: connector_name.to_owned(),
            connector,
            clock,
            inbox: Mutex::default(),
            me: OnceLock::new(),
            health: connector_telegram::poll::Health::default(),
            live: live::Live::default(),
            asks: asks::Asks::default(),
            answers: intake::Answers::default(),
            pace,
            fetches: Semaphore::new(FETCHES),
            tasks: TaskTracker::new(),
            finishing: CancellationToken::new(),
        })))
    }

    /// Where it reports to what it [takes](Self::take).
    pub fn report_to(&self, inbox: Inbox) {
        *locked(&self.0.inbox) = Some(inbox);
    }

    /// The connector behind it, for rules that send messages themselves.
    pub fn connector(&self) -> Arc<TelegramConnector> {
        self.0.connector.clone()
    }

    /// How its polling goes.
    pub fn health(&self) -> connector_telegram::poll::Health {
        self.0.health.clone()
    }

    fn engine(&self) -> Result<Engine, LedgerError> {
        let inbox = locked(&self.0.inbox).clone();
        Engine::of(&inbox.ok_or(LedgerError::NotRunning)?)
    }

    fn me(&self) -> Me {
        self.0.me.get().cloned().unwrap_or_default()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A person of Telegram, as the gate knows them.
fn actor(user: u64) -> Actor {
    Actor::new(NAME, &user.to_string())
}

/// Whether a chat may be told that did not ask: whoever may write to the bot there may read it there.
pub(crate) fn admits(allow: &Allow, chat: &str) -> Result<(), String> {
    let given = chat;
    let chat = given.parse::<ChatKey>().map_err(|error| error.to_string())?;
    // What comes in from it is compared with this.
    if chat.to_string() != given {
        return Err(format!("`{given}` is written `{chat}`"));
    }
    let (key, is_allowed) = match u64::try_from(chat.id) {
        Ok(user) => ("allow_users", allow.users.contains(&user)),
        Err(_) => ("allow_chats", allow.chats.contains(&chat.id)),
    };
    if is_allowed { Ok(()) } else { Err(format!("`{key}` of [surfaces.{NAME}] does not have {}", chat.id)) }
}

#[async_trait]
impl Surface for Telegram {
    fn name(&self) -> &str {
        NAME
    }

    async fn run(&self, inbox: Inbox, stop: CancellationToken) -> Result<(), SurfaceError> {
        if self.0.finishing.is_cancelled() {
            return Err(SurfaceError { reason: "it has finished, and is not run again".to_owned() });
        }
        self.report_to(inbox);
        // What is dropped takes nothing in any more, either.
        let reading = stop.child_token();
        let _until_dropped = reading.clone().drop_guard();
        let ended = self.take_updates(&reading).await;
        ended.map_err(|error| SurfaceError::of(&error))
    }

    async fn finish(&self) {
        self.0.finishing.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    async fn deliver(&self, chat: &str, number: i64, view: View) -> Result<String, DeliveryError> {
        let chat: ChatKey = match chat.parse() {
            Ok(chat) => chat,
            Err(error) => {
                tracing::error!(%error, "a message for no chat of telegram is dropped");
                return Ok(String::new());
            }
        };
        let parcel = |step| Parcel { chat, id: Some(number), step };
        Ok(match view {
            View::Card(card) => self.show_card(parcel(Some(card.id)), &card).await?,
            View::Result(result) => self.show_result(parcel(Some(result.id)), &result).await?,
            View::Text(text) => self.show_text(parcel(None), &text).await?,
        })
    }

    async fn changed(&self, chat: &str, standing: &Standing) -> Result<(), DeliveryError> {
        match chat.parse() {
            Ok(chat) => Ok(self.show_change(chat, standing).await?),
            Err(_) => Ok(()),
        }
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

    fn admits(&self, chat: &str) -> Result<(), String> {
        admits(&self.0.settings.allow, chat)
    }

    fn unanswered(&self, reported: Reported<'_>) -> Option<String> {
        // In a group, what fires no rule was not said to the bot.
        let chat = reported.chat.parse().ok().filter(ChatKey::is_private)?;
        let line = match reported.trigger {
            "message_received" => match self.offer(chat, reported) {
                asks::Offer::Made => return None,
                asks::Offer::Tap => asks::TAP,
                asks::Offer::None => words::NO_RULE,
            },
            "message_forwarded" | "files_received" => words::NO_RULE,
            "message_edited" => EDITED,
            _ => return None,
        };
        Some(line.to_owned())
    }

    fn asks_for_words(&self, _reported: Reported<'_>, command: &str) -> Option<String> {
        Some(words::wants_words(command))
    }

    fn grows_until(&self, reported: Reported<'_>) -> Option<Millis> {
        split::grows_until(reported)
    }

    fn progress(&self, chat: &str, step: StepId, progress: &Progress) {
        if let Ok(chat) = chat.parse() {
            self.0.live.note(chat, step, progress);
        }
    }

    fn ask(&self, chat: &str, ask: &OpenAsk) {
        if let Ok(chat) = chat.parse() {
            self.open_ask(chat, ask.clone());
        }
    }

    fn ask_answered(&self, chat: &str, ask: &OpenAsk, answer: &Answer, by: &Actor) {
        if let Ok(chat) = chat.parse() {
            self.close_ask((ask.number, chat), Some((answer, by)));
        }
    }

    fn ask_closed(&self, chat: &str, ask: &OpenAsk, _by: Option<&Actor>) {
        if let Ok(chat) = chat.parse() {
            self.close_ask((ask.number, chat), None);
        }
    }
}
