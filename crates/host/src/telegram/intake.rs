//! Updates in: each becomes a row, a decision, an answer to an ask, or nothing.
//!
//! When [`Telegram::take`] returns, what the update meant is durable, and doing
//! it again would change nothing: an event is stored under the update's number,
//! a decision under the card's state.

use connector_telegram::ChatKey;
use connector_telegram::frankenstein::methods::AnswerCallbackQueryParams;
use connector_telegram::update::{self, Ignored, Incoming, Kind, Received, Tap};
use serde_json::Value;

use super::buttons::Pressed;
use super::{NAME, Telegram, actor, commands, rows};
use crate::ledger::LedgerError;
use crate::ledger::events::{NewEvent, ReplyTo};
use crate::ledger::steps::StepRow;
use crate::ledger::steps::decide::{self, Decision, Tapped};

/// The longest answer to a tap, in characters.
const TOAST: usize = 190;

impl Telegram {
    /// Deals with one update. An error means that it is to be tried again.
    pub async fn take(&self, raw: &Value) -> Result<(), LedgerError> {
        match update::read(raw, &self.0.settings.allow, &self.me()) {
            Incoming::Message(received) => self.received(*received).await,
            Incoming::Tap(tap) => self.tapped(*tap).await,
            Incoming::Ignored(why) => {
                let number = update::number(raw);
                if why == Ignored::Unreadable {
                    tracing::warn!(update = number, "an update cannot be read and is skipped");
                } else {
                    tracing::debug!(update = number, ?why, "an update means nothing here");
                }
                Ok(())
            }
        }
    }

    /// Whether the update comes with a file, which takes its time.
    pub(super) fn brings_file(&self, raw: &Value) -> bool {
        let read = update::read(raw, &self.0.settings.allow, &self.me());
        matches!(read, Incoming::Message(received) if received.file.is_some())
    }

    async fn received(&self, received: Received) -> Result<(), LedgerError> {
        let ours = received.command.as_deref().is_some_and(commands::is_ours);
        if let Some(file) = received.file.as_ref().filter(|_| !ours) {
            return self.received_file(&received, file).await;
        }
        match received.kind {
            Kind::Forwarded => return self.store(&received, "message_forwarded", None).await.map(|_| ()),
            Kind::Edited => return self.store(&received, "message_edited", None).await.map(|_| ()),
            Kind::Fresh => {}
        }
        if let Some(command) = &received.command {
            let new = self.store(&received, "command_received", None).await?;
            if commands::is_ours(command) {
                // Its row says that it was dealt with: a second delivery aborts nothing.
                return if new { self.command(&received).await } else { Ok(()) };
            }
        }
        let mut reply = None;
        if let Some(answered) = received.reply_to {
            if self.answer_in_words(&received, answered).await? {
                return Ok(());
            }
            let chat = received.chat.to_string();
            reply = self.engine()?.ledger().read(move |tx| rows::session_of(tx, &chat, answered)).await?;
        }
        self.store(&received, "message_received", reply).await.map(|_| ())
    }

    /// Stores an event of a message; whether it is new.
    pub(super) async fn store(
        &self,
        received: &Received,
        trigger: &str,
        reply: Option<ReplyTo>,
    ) -> Result<bool, LedgerError> {
        self.submit(self.event(received, trigger, reply)).await
    }

    /// The event of a message, under the update's number.
    pub(super) fn event(&self, received: &Received, trigger: &str, reply: Option<ReplyTo>) -> NewEvent {
        let platform_id = match trigger {
            "message_received" => received.update_id.to_string(),
            other => format!("{} {other}", received.update_id),
        };
        NewEvent {
            surface: NAME.to_owned(),
            platform_id,
            connector: self.0.connector_name.clone(),
            event: trigger.to_owned(),
            chat: received.chat.to_string(),
            requester: actor(received.user),
            payload: received.payload.clone(),
            reply,
        }
    }

    async fn submit(&self, event: NewEvent) -> Result<bool, LedgerError> {
        let (trigger, payload) = (event.event.clone(), event.payload.clone());
        let stored = self.engine()?.submit(event).await?;
        if stored.is_some() {
            self.0.connector.emit(&trigger, &payload);
        }
        Ok(stored.is_some())
    }

    async fn tapped(&self, tap: Tap) -> Result<(), LedgerError> {
        let (text, alert) = match Pressed::parse(&tap.data) {
            Some(Pressed::Decide { decision, token, digest }) => {
                self.decide(&tap, decision, &token, digest).await?
            }
            Some(Pressed::Abort { token }) => match self.card_here(&tap, &token).await? {
                Some(row) => (self.abort_step(&row, tap.user).await?, false),
                None => gone(),
            },
            Some(Pressed::Ask { word, number, choice }) => {
                (self.answer_by_button(&tap, &word, number, choice).await?, false)
            }
            // A button that a rule sent; the rule answers it.
            None => {
                let event = "callback_query_received".to_owned();
                self.submit(NewEvent {
                    surface: NAME.to_owned(),
                    platform_id: format!("{} {event}", tap.update_id),
                    connector: self.0.connector_name.clone(),
                    event,
                    chat: tap.chat.to_string(),
                    requester: actor(tap.user),
                    payload: tap.payload,
                    reply: None,
                })
                .await?;
                return Ok(());
            }
        };
        self.toast(tap.query, &text, alert);
        Ok(())
    }

    async fn decide(
        &self,
        tap: &Tap,
        decision: Decision,
        token: &str,
        digest: String,
    ) -> Result<(String, bool), LedgerError> {
        let Some(row) = self.card_here(tap, token).await? else { return Ok(gone()) };
        let step = row.id;
        let chat = Some(row.chat.clone());
        let decided = decide::Tap { step, digest, approver: actor(tap.user), chat, decision };
        let answer = self.engine()?.tap(decided).await?;
        if answer == Tapped::Approved
            && let Ok(chat) = row.chat.parse()
        {
            self.0.live.begin(chat, step);
        }
        let alert = !matches!(answer, Tapped::Approved | Tapped::Denied | Tapped::Counted { .. });
        Ok((crate::chat::describe(step, &answer), alert))
    }

    /// The card with this token, if it is in the chat of the tap: anybody can
    /// send any data from anywhere.
    async fn card_here(&self, tap: &Tap, token: &str) -> Result<Option<StepRow>, LedgerError> {
        let token = token.to_owned();
        let row = self.engine()?.ledger().read(move |tx| rows::by_token(tx, &token)).await?;
        // An old card's topic is no longer told, so that chats are compared without topics.
        let here = |row: &StepRow| {
            row.surface == NAME && row.chat.parse().is_ok_and(|chat: ChatKey| chat.id == tap.chat.id)
        };
        Ok(row.filter(here))
    }

    /// Answers a tap, so that the button stops turning. Nothing depends on it.
    fn toast(&self, query: String, text: &str, alert: bool) {
        let this = self.clone();
        let text: String = text.chars().take(TOAST).collect();
        self.0.tasks.spawn(async move {
            let answer = AnswerCallbackQueryParams::builder()
                .callback_query_id(query)
                .text(text)
                .show_alert(alert)
                .build();
            match this.0.api.call(&answer).await {
                Ok(_) => {}
                Err(error) if error.is_fine() => {}
                Err(error) => tracing::warn!(reason = %error, "a tap was not answered"),
            }
        });
    }
}

fn gone() -> (String, bool) {
    ("there is no such card here any more".to_owned(), true)
}
