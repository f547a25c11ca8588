//! Notices become messages.

use bytes::Bytes;
use connector_telegram::api::Document;
use connector_telegram::frankenstein::methods::{EditMessageTextParams, SendMessageParams};
use connector_telegram::frankenstein::types::{
    InlineKeyboardMarkup, LinkPreviewOptions, ReplyMarkup, ReplyParameters,
};
use connector_telegram::text::{MESSAGE, Styled};
use connector_telegram::{ApiError, ChatKey};

use super::{Telegram, buttons, locked, render, rows};
use crate::ids::StepId;
use crate::ledger::steps::StepRow;
use crate::surface::DeliveryError;

/// A message to be sent.
pub(super) struct Out<'a> {
    pub(super) chat: ChatKey,
    pub(super) text: &'a Styled,
    pub(super) buttons: Option<InlineKeyboardMarkup>,
    pub(super) answers: Option<i32>,
}

impl Telegram {
    /// A card is sent once; shown again, it is the same message.
    pub(super) async fn show_card(&self, chat: ChatKey, row: &StepRow) -> Result<String, DeliveryError> {
        let card = render::card(row, self.0.clock.now());
        if row.delivered_at.is_some()
            && let Some(message) = self.message_of(row.id).await
        {
            match self.edit(chat, message, &card.text, buttons::of_card(row)).await {
                Ok(()) => return Ok(message.to_string()),
                Err(ApiError::Gone) => {}
                Err(error) => return Err(not_delivered(&error)),
            }
        }
        let key = format!("card {} {}", row.id, row.digest.as_str());
        if let Some((name, content)) = card.attachment {
            let caption = format!("what step {} would run, in full", row.id);
            self.document_once(&key, chat, None, (&name, &caption, content)).await?;
        }
        let out = Out { chat, text: &card.text, buttons: Some(buttons::of_card(row)), answers: None };
        let message = self.send(out).await.map_err(|error| not_delivered(&error))?;
        self.0.forget_pieces(&key);
        locked(&self.0.messages).insert(row.id, message);
        Ok(message.to_string())
    }

    /// The card becomes the headline; the agent's words answer it. The message
    /// that is replied to last is the one a person replies to.
    pub(super) async fn show_result(&self, chat: ChatKey, row: &StepRow) -> Result<String, DeliveryError> {
        self.0.live.end(row.id).await;
        let shown = render::result(row);
        let mut message = match self.message_of(row.id).await {
            Some(message) => match self.edit(chat, message, &shown.text, buttons::none()).await {
                Ok(()) => Some(message),
                Err(ApiError::Gone) => None,
                Err(error) => return Err(not_delivered(&error)),
            },
            None => None,
        };
        let key = format!("result {}", row.id);
        if message.is_none() {
            message = self.pieces_once(&format!("{key} head"), chat, &shown.text, None).await?;
        }
        let last = self.pieces_once(&key, chat, &shown.body, message).await?;
        if self.0.settings.send_patch
            && let Some((name, content)) = shown.attachment
        {
            let caption = format!("the changes of {}", row.id);
            self.document_once(&format!("{key} patch"), chat, message, (&name, &caption, content)).await?;
        }
        for part in ["", " head", " patch"] {
            self.0.forget_pieces(&format!("{key}{part}"));
        }
        locked(&self.0.messages).remove(&row.id);
        Ok(last.or(message).map(|id| id.to_string()).unwrap_or_default())
    }

    pub(super) async fn show_text(&self, chat: ChatKey, text: &str) -> Result<String, DeliveryError> {
        let styled = Styled::new().plain(&crate::text::visible(text));
        let key = format!("text {chat} {text}");
        let last = self.pieces_once(&key, chat, &styled, None).await?;
        self.0.forget_pieces(&key);
        Ok(last.map(|id| id.to_string()).unwrap_or_default())
    }

    /// Sends a text in as many messages as it takes. After a failure it goes on
    /// with the piece that failed.
    async fn pieces_once(
        &self,
        key: &str,
        chat: ChatKey,
        text: &Styled,
        answers: Option<i32>,
    ) -> Result<Option<i32>, DeliveryError> {
        let sent = locked(&self.0.pieces).get(key).map_or(0, Vec::len);
        for piece in text.split(MESSAGE).iter().skip(sent) {
            let first = locked(&self.0.pieces).get(key).is_none_or(Vec::is_empty);
            let out = Out { chat, text: piece, buttons: None, answers: answers.filter(|_| first) };
            let id = match self.send(out).await {
                Ok(id) => id,
                Err(error @ (ApiError::Refused { .. } | ApiError::Unreadable { .. })) => {
                    tracing::error!(%chat, reason = %error, "telegram does not take a message; it is left out");
                    0
                }
                Err(error) => return Err(not_delivered(&error)),
            };
            locked(&self.0.pieces).entry(key.to_owned()).or_default().push(id);
        }
        let ids = locked(&self.0.pieces).get(key).cloned().unwrap_or_default();
        Ok(ids.into_iter().rev().find(|id| *id != 0))
    }

    async fn document_once(
        &self,
        key: &str,
        chat: ChatKey,
        answers: Option<i32>,
        (name, caption, content): (&str, &str, String),
    ) -> Result<(), DeliveryError> {
        if locked(&self.0.pieces).contains_key(key) {
            return Ok(());
        }
        let document = Document {
            chat,
            reply_to: answers,
            name: name.to_owned(),
            caption: caption.to_owned(),
            content: Bytes::from(content),
        };
        self.0.pace.turn(chat.id).await;
        let id = match self.0.api.upload(&document).await {
            Ok(id) => id,
            Err(error @ ApiError::Refused { .. }) => {
                tracing::error!(%chat, reason = %error, "telegram does not take a document; it is left out");
                0
            }
            Err(error) => return Err(not_delivered(&self.heard(chat, error))),
        };
        locked(&self.0.pieces).insert(key.to_owned(), vec![id]);
        Ok(())
    }

    /// Sends one message, at its turn.
    pub(super) async fn send(&self, out: Out<'_>) -> Result<i32, ApiError> {
        self.0.pace.turn(out.chat.id).await;
        let answers = out
            .answers
            .map(|id| ReplyParameters::builder().message_id(id).allow_sending_without_reply(true).build());
        let message = SendMessageParams::builder()
            .chat_id(out.chat.id)
            .maybe_message_thread_id(out.chat.topic)
            .text(out.text.text())
            .entities(out.text.entities())
            .link_preview_options(LinkPreviewOptions::builder().is_disabled(true).build())
            .maybe_reply_parameters(answers)
            .maybe_reply_markup(out.buttons.map(ReplyMarkup::InlineKeyboardMarkup))
            .build();
        let sent = self.0.api.call(&message).await.map_err(|error| self.heard(out.chat, error))?;
        Ok(sent.message_id)
    }

    /// Changes a message, at its turn.
    pub(super) async fn edit(
        &self,
        chat: ChatKey,
        message: i32,
        text: &Styled,
        buttons: InlineKeyboardMarkup,
    ) -> Result<(), ApiError> {
        self.0.pace.turn(chat.id).await;
        self.edit_now(chat, message, text, buttons).await
    }

    /// Changes a message whose turn was taken. That it already says so is fine.
    pub(super) async fn edit_now(
        &self,
        chat: ChatKey,
        message: i32,
        text: &Styled,
        buttons: InlineKeyboardMarkup,
    ) -> Result<(), ApiError> {
        let edit = EditMessageTextParams::builder()
            .chat_id(chat.id)
            .message_id(message)
            .text(text.text())
            .entities(text.entities())
            .link_preview_options(LinkPreviewOptions::builder().is_disabled(true).build())
            .reply_markup(buttons)
            .build();
        match self.0.api.call(&edit).await {
            Ok(_) | Err(ApiError::NotModified) => Ok(()),
            Err(error) => Err(self.heard(chat, error)),
        }
    }

    /// A wait that Telegram asks for is kept for everything to that chat.
    fn heard(&self, chat: ChatKey, error: ApiError) -> ApiError {
        if let ApiError::Throttled { after } = &error {
            self.0.pace.hold(chat.id, *after);
        }
        error
    }

    /// The message that shows a step.
    pub(super) async fn message_of(&self, step: StepId) -> Option<i32> {
        let known = locked(&self.0.messages).get(&step).copied();
        if known.is_some() {
            return known;
        }
        let engine = self.engine().ok()?;
        engine.ledger().read(move |tx| rows::card_message(tx, step)).await.ok().flatten()
    }
}

impl super::Inner {
    fn forget_pieces(&self, key: &str) {
        locked(&self.pieces).remove(key);
    }
}

fn not_delivered(error: &ApiError) -> DeliveryError {
    DeliveryError(connector_contract::chain(error))
}
