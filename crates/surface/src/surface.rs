//! Where people meet the host: what a surface is shown, and what it reports.
//!
//! A surface turns platform updates into events, taps and answers, and views
//! into messages. It decides nothing; it vouches for who acted.

use async_trait::async_trait;
use connector_contract::Progress;
use connector_gate::ask::{Answer, Asked};
use connector_gate::clock::Millis;
use connector_gate::ids::StepId;
use connector_gate::people::People;
use connector_gate::policy::Actor;
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::inbox::{Inbox, InboxError};
use crate::view::{CardView, ResultView, Standing};

/// A message for a chat, as data that a surface draws. No row crosses to a surface with it.
#[derive(Debug, Clone)]
pub enum View {
    /// A step waits for a decision. The view is everything the approver sees.
    Card(Box<CardView>),
    /// A step ended.
    Result(Box<ResultView>),
    /// A plain text.
    Text(String),
}

/// The message was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// Not now; it will be tried again.
    #[error("not delivered: {0}")]
    Later(String),
    /// Not there: the platform says that the chat is another now. What it is still to be told goes to
    /// that one; what waits for a decision there is denied, since it was asked in a chat that is gone.
    #[error("the chat is `{to}` now")]
    Moved {
        /// The other chat.
        to: String,
    },
}

/// Error of a surface that cannot go on, in words for people.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct SurfaceError {
    /// What is wrong, with its causes.
    pub reason: String,
}

impl SurfaceError {
    /// An error with all of its reasons.
    #[must_use]
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        Self { reason: connector_contract::chain(error) }
    }
}

impl From<InboxError> for SurfaceError {
    fn from(error: InboxError) -> Self {
        Self::of(&error)
    }
}

/// The chat of a surface that has one alone.
pub const MAIN_CHAT: &str = "main";

/// The command that a message begins with, and the words after it; without one, both are empty.
pub fn command(text: &str) -> (&str, &str) {
    let Some(rest) = text.strip_prefix('/') else { return ("", "") };
    let (command, words) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    (command, words.trim())
}

/// An ask that waits for its answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OpenAsk {
    /// What people type to answer it: the number of its row.
    pub number: u64,
    /// How often it was asked: it is the same row when its agent asks again.
    #[serde(skip)]
    pub times: u32,
    /// The step whose agent asks.
    pub step: StepId,
    /// What it asks.
    pub asked: Asked,
    /// Who may answer.
    pub approvers: Vec<Actor>,
    /// Whose accounts there are.
    #[serde(skip_serializing_if = "People::is_empty")]
    pub people: People,
}

/// What came in by a surface, as it is stored.
#[derive(Debug, Clone, Copy)]
pub struct Reported<'a> {
    /// The number of the event.
    pub event: i64,
    /// The trigger.
    pub trigger: &'a str,
    /// The chat.
    pub chat: &'a str,
    /// Who caused it.
    pub by: &'a Actor,
    /// What rules read of it.
    pub payload: &'a Value,
    /// When it was stored.
    pub at: Millis,
}

/// One way to reach people.
#[async_trait]
pub trait Surface: Send + Sync + 'static {
    /// Its name, the first part of its users' names.
    fn name(&self) -> &str;

    /// Reports to `inbox` what comes in, until `stop`; returns once nothing comes in any more. It goes on to deliver
    /// until it is to [finish](Self::finish). One that only shows has nothing to do.
    ///
    /// # Errors
    ///
    /// Somebody has to put something right before it can be run.
    async fn run(&self, _inbox: Inbox, stop: CancellationToken) -> Result<(), SurfaceError> {
        stop.cancelled().await;
        Ok(())
    }

    /// Waits for what it still sends. Nothing is delivered after this, but by a delivery that took too long to be waited
    /// for. It is ended when it takes too long itself.
    async fn finish(&self) {}

    /// Delivers a view and returns the platform's own id of the message.
    /// `delivery` is its number: after an error, or the end of the host, the same
    /// one is delivered again, and that must be harmless. Nobody limits how long
    /// it takes: what could hang has a limit of its own. It may be called before
    /// [`run`](Self::run), and [`Later`](DeliveryError::Later) is the answer where that is too early.
    async fn deliver(&self, chat: &str, delivery: i64, view: View) -> Result<String, DeliveryError>;

    /// Shows what became of a card that was [delivered](Self::deliver) to a chat and has no result yet: how many approved
    /// it, or who decided. One that waits no longer can be decided no longer, and loses its buttons. As with a delivery,
    /// the same may be shown again after an error or the end of the host.
    async fn changed(&self, _chat: &str, _standing: &Standing) -> Result<(), DeliveryError> {
        Ok(())
    }

    /// Whether cards outlive the host on this surface, as messages of a platform do: then they are
    /// not put out again at every start.
    fn keeps_cards(&self) -> bool {
        false
    }

    /// Whether it shows an agent's asks, and people can answer them on it. Where they cannot, and none of them has the
    /// command line, each is refused at once.
    fn takes_answers(&self) -> bool {
        false
    }

    /// The name of the connector that rules know its messages by.
    fn connector_name(&self) -> &str {
        self.name()
    }

    /// Whether it may write to a chat that did not ask, which a rule names among its followers; otherwise what its
    /// configuration would have to say. A chat has one name: that which its messages come in under. Without a word of its own a surface tells nobody who did not ask.
    fn admits(&self, _chat: &str) -> Result<(), String> {
        Err("its surface tells no chat that did not ask".to_owned())
    }

    /// What the chat of a message is told that no rule fires on, in the transaction that finds so; most are told nothing. It
    /// is told once, however many such messages wait. Commands are not asked about, nor a message whose command fired a rule.
    fn unanswered(&self, _reported: Reported<'_>) -> Option<String> {
        None
    }

    /// What the chat of a message is told that is `command` alone, where one with words after it would fire a rule.
    fn asks_for_words(&self, _reported: Reported<'_>, _command: &str) -> Option<String> {
        None
    }

    /// Until when a message may still grow, where the platform splits long ones: nothing comes of it before.
    fn grows_until(&self, _reported: Reported<'_>) -> Option<Millis> {
        None
    }

    /// Shows progress of a running step. Must not block; may drop.
    fn progress(&self, _chat: &str, _step: StepId, _progress: &Progress) {}

    /// Shows an ask. Must not block.
    fn ask(&self, _chat: &str, _ask: &OpenAsk) {}

    /// An ask was answered.
    fn ask_answered(&self, chat: &str, ask: &OpenAsk, _answer: &Answer, by: &Actor) {
        self.ask_closed(chat, ask, Some(by));
    }

    /// An ask no longer waits: it was answered (`by` somebody) or withdrawn.
    fn ask_closed(&self, _chat: &str, _ask: &OpenAsk, _by: Option<&Actor>) {}
}
