//! Inbox: how a surface reports what came in, and asks what it needs for that.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use connector_gate::ask::{Answer, Answered};
use connector_gate::decision::{Decision, Tap, Tapped};
use connector_gate::ids::StepId;
use connector_gate::policy::Actor;
use serde_json::{Map, Value};

/// Error of what was asked of an inbox.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// Retry: the host has not begun, or has ended. Whoever is run by it is told to stop.
    #[error("the host is not running")]
    NotRunning,
    /// Report: a row that it is about cannot be read. Trying again changes nothing.
    #[error("what it is about is on record and cannot be read: {0}")]
    Unreadable(String),
    /// Retry: nobody knows whether it was recorded. Reported again under the same id it is recorded once. Where the ledger
    /// cannot be used any more, the host ends, and tells its surfaces to stop.
    #[error("the ledger failed")]
    Ledger(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A message that came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The platform's id of it, or one that the surface keeps until it was taken: under one id it is taken once.
    pub id: String,
    /// The chat, as the surface writes it.
    pub chat: String,
    /// Who wrote it, as the surface's accounts are written.
    pub user: String,
    /// The trigger that rules know it by. What is `message_received` and begins with a command is `command_received`, too; a
    /// command of the host's own is that alone.
    pub trigger: &'static str,
    /// What was written. A command of the host's own, such as `/status`, is answered and carried out.
    pub text: String,
    /// The platform's id of the message that it answers.
    pub answers: Option<String>,
    /// What else rules may read of it. `text`, `command`, `args` and `chat_id` are added.
    pub payload: Map<String, Value>,
}

/// A message that a surface sent, as it is recorded: an answer to it is about its step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The chat.
    pub chat: String,
    /// The platform's id of it; empty for one that the platform did not take.
    pub message: String,
    /// The step it is about.
    pub step: Option<StepId>,
    /// The number of the delivery that it belongs to.
    pub delivery: Option<i64>,
    /// What of it it is, in the surface's own words.
    pub part: String,
}

/// What a message of the surface's own is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The step.
    pub step: StepId,
    /// What of it, as it was [sent](Sent).
    pub part: String,
}

/// What stands behind an [`Inbox`]: the engine. `surface` is the name of the one that reports.
#[async_trait]
pub trait Receiver: Any + Send + Sync {
    /// Stores messages in their order, and the place after them where there is one, all in one transaction; how many
    /// messages were new.
    async fn take(
        &self,
        surface: &str,
        messages: Vec<Message>,
        place: Option<String>,
    ) -> Result<usize, InboxError>;
    /// The place that was stored last.
    async fn place(&self, surface: &str) -> Result<Option<String>, InboxError>;
    /// Carries a decision out.
    async fn decide(&self, tap: Tap) -> Result<Tapped, InboxError>;
    /// Answers an ask, once.
    async fn answer(&self, number: u64, by: &Actor, answer: Answer) -> Result<Answered, InboxError>;
    /// Records a message that was sent.
    async fn record(&self, surface: &str, sent: Sent) -> Result<(), InboxError>;
    /// The messages of one part of a delivery, in the order they were sent.
    async fn sent(&self, delivery: i64, part: &str) -> Result<Vec<String>, InboxError>;
    /// What a message of a chat is about, if the surface sent it.
    async fn about(&self, surface: &str, chat: &str, message: &str) -> Result<Option<About>, InboxError>;
    /// The newest message of a chat that is this part of what it was told of a step.
    async fn message_of(
        &self,
        surface: &str,
        chat: &str,
        step: StepId,
        part: &str,
    ) -> Result<Option<String>, InboxError>;
    /// Whether somebody approves anything.
    fn is_approver(&self, who: &Actor) -> bool;
}

/// Handle to the engine that a surface is run by, in that surface's name. Cheap to clone; it keeps no engine alive, so
/// that a host that has ended lets go of its state directory whoever still holds one.
///
/// After an error what came in is to be reported again, under the same id: nobody knows whether it was stored.
#[derive(Clone)]
pub struct Inbox {
    receiver: Arc<dyn Receiver>,
    surface: Arc<str>,
}

impl Inbox {
    /// An inbox of the surface that is called so.
    pub fn new(receiver: Arc<dyn Receiver>, surface: &str) -> Self {
        Self { receiver, surface: surface.into() }
    }

    /// What stands behind it, for whoever made it: nobody else knows the type.
    pub fn downcast<T: Receiver>(&self) -> Option<&T> {
        let receiver: &dyn Any = &*self.receiver;
        receiver.downcast_ref()
    }

    /// An account of this surface, as the gate knows it.
    pub fn actor(&self, user: &str) -> Actor {
        Actor::new(&self.surface, user)
    }

    /// Stores a message that somebody wrote; whether it is new. When this returns it is durable. `id` is the
    /// platform's, or one that the surface keeps until this returns `Ok`.
    ///
    /// # Errors
    ///
    /// As of [`take`](Self::take).
    pub async fn message(
        &self,
        (chat, user): (&str, &str),
        id: &str,
        text: &str,
    ) -> Result<bool, InboxError> {
        let message = Message {
            id: id.to_owned(),
            chat: chat.to_owned(),
            user: user.to_owned(),
            trigger: "message_received",
            text: text.to_owned(),
            answers: None,
            payload: Map::new(),
        };
        Ok(self.take(vec![message]).await? == 1)
    }

    /// Stores messages in their order; how many were new. When this returns all of them are durable.
    ///
    /// # Errors
    ///
    /// All of it is stored, or nothing: all of it is to be reported again.
    pub async fn take(&self, messages: Vec<Message>) -> Result<usize, InboxError> {
        self.receiver.take(&self.surface, messages, None).await
    }

    /// As [`take`](Self::take), for a surface that reads a platform's stream: `place` is how far it has read with these
    /// messages, in the platform's words, and is stored with them. So it is never ahead of what was taken, nor behind.
    ///
    /// # Errors
    ///
    /// All of it is stored, the place too, or nothing.
    pub async fn take_up_to(&self, messages: Vec<Message>, place: &str) -> Result<usize, InboxError> {
        self.receiver.take(&self.surface, messages, Some(place.to_owned())).await
    }

    /// How far the stream was [taken](Self::take_up_to): where to read on from, also after an end of the host. Nothing
    /// before the first time.
    ///
    /// # Errors
    ///
    /// It could not be looked up.
    pub async fn place(&self) -> Result<Option<String>, InboxError> {
        self.receiver.place(&self.surface).await
    }

    /// Carries out a decision about a step whose card showed `digest`, and says how it is answered.
    ///
    /// # Errors
    ///
    /// It may have been carried out; the same one again is answered with what became of it.
    pub async fn decide(
        &self,
        (chat, user): (&str, &str),
        (step, digest): (StepId, &str),
        decision: Decision,
    ) -> Result<Tapped, InboxError> {
        let (digest, chat) = (digest.to_owned(), Some(chat.to_owned()));
        self.receiver.decide(Tap { step, digest, approver: self.actor(user), chat, decision }).await
    }

    /// Answers an ask, once.
    ///
    /// # Errors
    ///
    /// Whether it was answered nobody knows; answered again, it says.
    pub async fn answer(&self, user: &str, number: u64, answer: Answer) -> Result<Answered, InboxError> {
        self.receiver.answer(number, &self.actor(user), answer).await
    }

    /// Records a message that was sent, so that no end of the host makes it be sent again, and an answer to it is
    /// understood.
    ///
    /// # Errors
    ///
    /// Whether it was recorded nobody knows: it may be sent again.
    pub async fn record(&self, sent: Sent) -> Result<(), InboxError> {
        self.receiver.record(&self.surface, sent).await
    }

    /// The messages of one part of a delivery that were [recorded](Self::record), in their order.
    ///
    /// # Errors
    ///
    /// They could not be looked up.
    pub async fn sent(&self, delivery: i64, part: &str) -> Result<Vec<String>, InboxError> {
        self.receiver.sent(delivery, part).await
    }

    /// What a message of a chat is about, if it was [recorded](Self::record) with a step.
    ///
    /// # Errors
    ///
    /// It could not be looked up.
    pub async fn about(&self, chat: &str, message: &str) -> Result<Option<About>, InboxError> {
        self.receiver.about(&self.surface, chat, message).await
    }

    /// The newest message of a chat that is this part of what it was told of a step.
    ///
    /// # Errors
    ///
    /// It could not be looked up.
    pub async fn message_of(
        &self,
        chat: &str,
        step: StepId,
        part: &str,
    ) -> Result<Option<String>, InboxError> {
        self.receiver.message_of(&self.surface, chat, step, part).await
    }

    /// Whether somebody approves anything: limits do not hold them.
    pub fn is_approver(&self, user: &str) -> bool {
        self.receiver.is_approver(&self.actor(user))
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inbox({})", self.surface)
    }
}
