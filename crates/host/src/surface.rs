//! Where people meet the host: what a surface is shown, and what it reports.
//!
//! A surface turns platform updates into events, taps and answers, and notices
//! into messages. It decides nothing; it vouches for who acted.

use async_trait::async_trait;
use connector_contract::Progress;
use connector_gate::ask::Answer;
use connector_gate::clock::Millis;
use connector_gate::ids::StepId;
use connector_gate::people::People;
use connector_gate::policy::Actor;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::engine::Inbox;
use crate::ledger::events::EventRow;
use crate::ledger::{LedgerError, Tx};
use crate::view::{CardView, ResultView};

pub use connector_gate::ask::Asked;

/// A message for a chat, as data that a surface draws. No row crosses to a surface with it.
#[derive(Debug, Clone)]
pub enum Notice {
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

impl From<LedgerError> for SurfaceError {
    fn from(error: LedgerError) -> Self {
        Self { reason: connector_contract::chain(&error) }
    }
}

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

    /// Delivers a notice and returns the platform's own id of the message.
    /// `parcel` is its number: after an error, or the end of the host, the same
    /// one is delivered again, and that must be harmless. Nobody limits how long
    /// it takes: what could hang has a limit of its own. It may be called before
    /// [`run`](Self::run), and [`Later`](DeliveryError::Later) is the answer where that is too early.
    async fn deliver(&self, chat: &str, parcel: i64, notice: Notice) -> Result<String, DeliveryError>;

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

    /// What the chat of an event is told that no rule fires on, in the transaction that finds so;
    /// most are told nothing.
    fn unanswered(&self, _tx: &Tx<'_>, _event: &EventRow) -> Result<Option<String>, LedgerError> {
        Ok(None)
    }

    /// What the chat of an event is told that is `command` alone, where one with words after it
    /// would fire a rule.
    fn asks_for_words(&self, _event: &EventRow, _command: &str) -> Option<String> {
        None
    }

    /// Until when an event may still grow, where the platform splits long messages: nothing comes of
    /// it before.
    fn grows_until(&self, _event: &EventRow) -> Option<Millis> {
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
