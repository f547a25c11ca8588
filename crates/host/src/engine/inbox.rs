//! Inbox: how a surface reports what came in, and asks what it needs for that.

use std::sync::{Arc, Weak};

use connector_gate::ids::StepId;
use connector_gate::policy::Actor;
use serde_json::json;

use super::{Answer, Answered, Engine, Inner};
use crate::ledger::LedgerError;
use crate::ledger::events::NewEvent;
use crate::ledger::steps::decide::{Decision, Tap, Tapped};
use crate::surface;

/// Handle to the engine that a surface is run by, in that surface's name. Cheap to clone; it keeps no engine alive, so
/// that a host that has ended lets go of its state directory whoever still holds one.
///
/// After an error of any of its functions nobody knows whether it was stored: what came in is to be reported again, under
/// the same id.
#[derive(Clone)]
pub struct Inbox {
    engine: Weak<Inner>,
    surface: Arc<str>,
}

impl Inbox {
    /// Stores a message, as `message_received` of a connector called like the surface; whether it is new. When this
    /// returns it is durable. `id` is the platform's, or one that the surface keeps until this returns `Ok`.
    pub async fn message(
        &self,
        (chat, user): (&str, &str),
        id: &str,
        text: &str,
    ) -> Result<bool, LedgerError> {
        let (command, args) = surface::command(text);
        let event = NewEvent {
            surface: self.surface.to_string(),
            platform_id: id.to_owned(),
            connector: self.surface.to_string(),
            event: "message_received".to_owned(),
            chat: chat.to_owned(),
            requester: self.actor(user),
            payload: json!({ "text": text, "command": command, "args": args, "chat_id": chat }),
            reply: None,
        };
        Ok(self.engine()?.submit(event).await?.is_some())
    }

    /// Carries out a decision about a step whose card showed `digest`, and says how it is answered.
    pub async fn decide(
        &self,
        (chat, user): (&str, &str),
        (step, digest): (StepId, &str),
        decision: Decision,
    ) -> Result<Tapped, LedgerError> {
        let (digest, chat) = (digest.to_owned(), Some(chat.to_owned()));
        self.engine()?.tap(Tap { step, digest, approver: self.actor(user), chat, decision }).await
    }

    /// Answers an ask, once. After an error it was not answered, and waits on.
    pub async fn answer(&self, user: &str, number: u64, answer: Answer) -> Result<Answered, LedgerError> {
        self.engine()?.answer(number, &self.actor(user), answer).await
    }

    fn actor(&self, user: &str) -> Actor {
        Actor::new(&self.surface, user)
    }

    /// The engine, while it is there.
    pub(crate) fn engine(&self) -> Result<Engine, LedgerError> {
        self.engine.upgrade().map(Engine).ok_or(LedgerError::NotRunning)
    }
}

impl Engine {
    /// The inbox of the surface that is called so.
    pub fn inbox(&self, surface: &str) -> Inbox {
        Inbox { engine: Arc::downgrade(&self.0), surface: surface.into() }
    }
}
