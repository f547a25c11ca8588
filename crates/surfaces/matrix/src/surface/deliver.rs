//! Delivering a view: each of its events once, and each on record with what it is about.

use connector_gate::ids::StepId;
use connector_surface::inbox::Sent;
use connector_surface::view::{CardView, ResultView, Standing, Verbatim};
use connector_surface::{DeliveryError, Inbox, InboxError, View};
use serde_json::Value;

use super::mark::{Mark, marked};
use super::{LIMIT, Matrix, hashed, render};
use crate::api::ApiError;
use crate::id::{ChatKey, EventId};
use crate::text::{self, related};

/// A patch of more bytes than this is a file.
const PATCH: usize = 2 << 10;

/// What a card's event is recorded as, and that of the status of a step without one.
pub(super) const CARD: &str = "card";
/// The file with all of a card that is cut.
const WHOLE: &str = "whole";
pub(super) const STATUS: &str = "status";

/// One part of a delivery.
struct Part<'a> {
    inbox: &'a Inbox,
    chat: &'a ChatKey,
    delivery: i64,
    step: Option<StepId>,
    /// What of it it is, as it is recorded.
    name: &'static str,
    /// What no other delivery of this number has: the card's own secret, or else what is made of its words.
    token: &'a str,
}

impl Matrix {
    /// Says so where a room was replaced by one that the bot is in, also while the old one still takes messages: nobody reads
    /// them there.
    pub(super) async fn has_not_moved(&self, chat: &ChatKey) -> Result<(), DeliveryError> {
        let known = tokio::time::timeout(LIMIT, self.0.rooms_known.cancelled()).await;
        let later = |reason: &str| Err(DeliveryError::Later(reason.to_owned()));
        if known.is_err() {
            return later("the homeserver does not say yet how the rooms stand");
        }
        if !self.0.rooms.is_replaced(&chat.room) {
            return Ok(());
        }
        if self.0.dealing.is_moving_from(&chat.room) {
            return later("the bot is on its way to the room that replaces this one");
        }
        match self.0.rooms.successor(&chat.room).await {
            Ok(Some(to)) => Err(DeliveryError::Moved { to: to.to_string() }),
            Err(error) if error.is_passing() => later(&connector_contract::chain(&error)),
            // As long as the bot is not let into the new room, the old one is the only one.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    pub(super) async fn show(
        &self,
        inbox: &Inbox,
        chat: &ChatKey,
        delivery: i64,
        view: View,
    ) -> Result<String, DeliveryError> {
        match view {
            View::Card(card) => self.show_card(inbox, chat, delivery, &card).await,
            View::Result(result) => self.show_result(inbox, chat, delivery, &result).await,
            View::Text(words) => {
                let token = hashed(&[&words]);
                let part = |name| Part { inbox, chat, delivery, step: None, name, token: &token };
                let (content, is_cut) = text::as_it_is(&words, "m.notice");
                let first = self.once(&part("text"), content).await?;
                if is_cut {
                    self.file_once(&part("file"), "message.txt", &words).await?;
                }
                Ok(first)
            }
        }
    }

    async fn show_card(
        &self,
        inbox: &Inbox,
        chat: &ChatKey,
        delivery: i64,
        card: &CardView,
    ) -> Result<String, DeliveryError> {
        let (step, token) = (Some(card.id), card.token.as_str());
        let part = |name| Part { inbox, chat, delivery, step, name, token };
        let is_new = inbox.sent(delivery, CARD).await.map_err(later)?.is_empty();
        if is_new && card.again().is_some() {
            let words = format!("{} is asked about again, below", card.id);
            self.close(inbox, chat, card.id, &render::words(&words)).await?;
        }
        let (content, is_cut) = render::card(card, chat);
        if is_cut {
            self.file_once(&part(WHOLE), &format!("step-{}.txt", card.id), &card.whole).await?;
        }
        let mark = Mark::Card(card.id, card.digest.as_str().to_owned());
        self.once(&part(CARD), marked(content, &mark)).await
    }

    async fn show_result(
        &self,
        inbox: &Inbox,
        chat: &ChatKey,
        delivery: i64,
        result: &ResultView,
    ) -> Result<String, DeliveryError> {
        let (step, token) = (Some(result.id), result.token.as_str());
        let part = |name| Part { inbox, chat, delivery, step, name, token };
        self.0.live.end(chat.clone(), result.id);
        self.close(inbox, chat, result.id, &render::words(&result.title)).await?;
        let first = self.once(&part("result"), render::result(result)).await?;
        if let Some(reply) = result.reply.as_ref().map(Verbatim::as_str).filter(|it| !it.trim().is_empty()) {
            // What an agent says is a notice, so that no other bot obeys it.
            let (content, is_cut) = text::markdown(reply, "m.notice");
            self.once(&part("reply"), content).await?;
            if is_cut {
                self.file_once(&part("answer"), &format!("answer-{}.md", result.id), reply).await?;
            }
        }
        match result.patch.as_ref().map(Verbatim::as_str).unwrap_or_default() {
            "" => {}
            patch if patch.len() <= PATCH => drop(self.once(&part("patch"), render::patch(patch)).await?),
            patch => self.file_once(&part("patch"), &format!("step-{}.diff", result.id), patch).await?,
        }
        Ok(first)
    }

    /// Shows what became of a card.
    pub(super) async fn redraw(
        &self,
        inbox: &Inbox,
        chat: &ChatKey,
        standing: &Standing,
    ) -> Result<(), DeliveryError> {
        self.close(inbox, chat, standing.card.id, &render::standing(standing, chat)).await
    }

    /// The event that shows how a step stands: its card, or else its status.
    pub(super) async fn shown(
        &self,
        inbox: &Inbox,
        chat: &ChatKey,
        step: StepId,
    ) -> Result<Option<EventId>, InboxError> {
        let at = chat.to_string();
        let card = inbox.message_of(&at, step, CARD).await?;
        let found = match card {
            Some(card) => Some(card),
            None => inbox.message_of(&at, step, STATUS).await?,
        };
        Ok(found.and_then(|it| it.parse().ok()))
    }

    /// Changes the event that shows how a step stands. One that cannot be changed says what it said.
    async fn close(
        &self,
        inbox: &Inbox,
        chat: &ChatKey,
        step: StepId,
        now: &Value,
    ) -> Result<(), DeliveryError> {
        let Some(event) = self.shown(inbox, chat, step).await.map_err(later)? else { return Ok(()) };
        match self.replace(chat, &event, now).await {
            Err(error) if error.is_passing() => Err(DeliveryError::Later(connector_contract::chain(&error))),
            Err(error) => {
                let reason = connector_contract::chain(&error);
                tracing::warn!(reason, %chat, %step, "a message of matrix is not changed");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Keeps a text as a file and sends it, if this part was not sent before.
    async fn file_once(&self, part: &Part<'_>, name: &str, whole: &str) -> Result<(), DeliveryError> {
        if !part.inbox.sent(part.delivery, part.name).await.map_err(later)?.is_empty() {
            return Ok(());
        }
        match self.kept(name, whole).await {
            Ok(event) => self.once(part, event).await.map(drop),
            Err(error) => self.refused(part, error).await.map(drop),
        }
    }

    /// Sends the event of a part if it was not sent before; its id.
    async fn once(&self, part: &Part<'_>, content: Value) -> Result<String, DeliveryError> {
        let sent = part.inbox.sent(part.delivery, part.name).await.map_err(later)?;
        if let Some(sent) = sent.into_iter().next() {
            return Ok(sent);
        }
        let transaction = part.transaction();
        let content = related(content, part.chat.thread.as_ref(), None);
        let message = match self.send(part.chat, &transaction, &content).await {
            Ok(event) => event.to_string(),
            Err(error) => self.refused(part, error).await?,
        };
        let (chat, step, delivery) = (part.chat.to_string(), part.step, Some(part.delivery));
        let sent = Sent { chat, message: message.clone(), step, delivery, part: part.name.to_owned() };
        part.inbox.record(sent).await.map_err(later)?;
        Ok(message)
    }

    /// What becomes of a part that a server does not take: it goes elsewhere, or later. Only what no server ever takes is
    /// left out, and nothing of a card is: nobody decides about what they cannot read.
    async fn refused(&self, part: &Part<'_>, error: ApiError) -> Result<String, DeliveryError> {
        let (chat, reason) = (part.chat, connector_contract::chain(&error));
        let never = match &error {
            ApiError::TooLarge => true,
            ApiError::Refused { code, .. } => code == "M_BAD_JSON",
            _ => false,
        };
        match error {
            ApiError::Forbidden { .. } => match self.0.rooms.successor(&chat.room).await {
                Ok(Some(to)) => Err(DeliveryError::Moved { to: to.to_string() }),
                _ => Err(DeliveryError::Later(reason)),
            },
            _ if never && ![CARD, WHOLE].contains(&part.name) => {
                tracing::error!(reason, %chat, part = part.name, "a part of a message is not taken by matrix, and is left out");
                Ok(String::new())
            }
            _ => Err(DeliveryError::Later(reason)),
        }
    }

    /// Says something about what somebody said, once, without holding up anything.
    pub(super) fn answer(&self, chat: &ChatKey, said: &EventId, words: &str) {
        let (content, _) = text::as_it_is(words, "m.notice");
        let content = related(content, chat.thread.as_ref(), Some(said));
        let transaction = format!("answer.{}", hashed(&[said.as_str()]));
        let (this, chat) = (self.clone(), chat.clone());
        self.0.tasks.spawn(async move {
            if let Err(error) = this.send(&chat, &transaction, &content).await {
                tracing::warn!(reason = connector_contract::chain(&error), %chat, "an answer is not sent");
            }
        });
    }
}

impl Part<'_> {
    /// The same for the same part of the same delivery, and for no other, not even of a host that
    /// begins with its numbers anew.
    fn transaction(&self) -> String {
        format!("{}.{}", self.delivery, hashed(&[self.name, self.token]))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` gives it")]
fn later(error: InboxError) -> DeliveryError {
    DeliveryError::Later(connector_contract::chain(&error))
}
