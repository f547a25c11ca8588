//! Notices become messages.

use bytes::Bytes;
use connector_gate::state::StepState;
use connector_ledger::LedgerError;
use connector_ledger::messages::CARD;
use connector_ledger::steps;
use connector_surface::view::{CardDecision, CardView, Field, ResultView, Standing};
use connector_telegram::api::Document;
use connector_telegram::frankenstein::methods::{EditMessageTextParams, SendMessageParams};
use connector_telegram::frankenstein::types::{
    InlineKeyboardMarkup, LinkPreviewOptions, ReplyMarkup, ReplyParameters,
};
use connector_telegram::text::{MESSAGE, Style, Styled};
use connector_telegram::{ApiError, ChatKey};

use super::parcel::{Parcel, Unsent};
use super::render::Part;
use super::{Telegram, buttons, render};

/// In how many messages somebody can still read what they decide about.
const WHOLE: usize = 16;

/// A message to be sent.
pub(super) struct Out<'a> {
    pub(super) chat: ChatKey,
    pub(super) text: &'a Styled,
    pub(super) buttons: Option<InlineKeyboardMarkup>,
    pub(super) answers: Option<i32>,
}

impl Telegram {
    /// A card is sent once; shown again, it is the same message. One that is asked about again is a
    /// new message, and the earlier one says so.
    pub(super) async fn show_card(&self, parcel: Parcel, view: &CardView) -> Result<String, Unsent> {
        self.0.live.forget(parcel.chat, view.id).await;
        if let Some(message) = self.sent(parcel, CARD).await?.last() {
            return Ok(message.to_string());
        }
        let chat = parcel.chat;
        let card = render::card(view);
        if let Some(message) = self.message_of(chat, view.id).await? {
            // What stands above it is not changed with it.
            if !view.is_delivered || card.attachment.is_some() {
                self.change(chat, message, &render::asked_again(view), buttons::none()).await?;
            } else if self.change(chat, message, &card.text, buttons::of_card(view)).await? {
                return Ok(message.to_string());
            }
        }
        if let Some((name, content)) = card.attachment {
            let caption = format!("what step {} would run, in full", view.id);
            // Asked about again, it is another whole.
            let part = format!("whole {}", view.digest.as_str());
            let mut above = self.sent(parcel, &part).await?;
            self.show_whole(parcel, &part, (&name, &caption, &content), &mut above).await?;
        }
        let out = Out { chat, text: &card.text, buttons: Some(buttons::of_card(view)), answers: None };
        let message = self.send(out).await?;
        self.record(parcel, CARD, message).await;
        Ok(message.to_string())
    }

    /// A card says who approved it; one that was decided elsewhere loses its buttons, and becomes the status.
    pub(super) async fn show_change(&self, chat: ChatKey, standing: &Standing) -> Result<(), Unsent> {
        match &standing.decision {
            CardDecision::Awaited { .. } => self.show_votes(chat, standing).await,
            CardDecision::Approved { by } => self.show_decision(chat, by.clone(), standing).await,
        }
    }

    async fn show_votes(&self, chat: ChatKey, standing: &Standing) -> Result<(), Unsent> {
        let mut card = standing.card.clone();
        card.fields.push(Field::Named { name: "so far".to_owned(), value: standing.words() });
        let drawn = render::card(&card);
        // What is cut of a card stands above it, and nothing can be put there any more.
        if drawn.attachment.is_some() {
            return self.show_votes_below(chat, standing).await;
        }
        let Some(message) = self.message_of(chat, card.id).await? else { return Ok(()) };
        self.turn(chat).await?;
        // From here on nobody else edits it; meanwhile it may have been decided.
        let editing = self.0.live.editing(chat, card.id);
        let _guard = editing.lock().await;
        if !self.waits(&card).await? {
            return Ok(());
        }
        self.change_now(chat, message, &drawn.text, buttons::of_card(&card)).await.map(drop)
    }

    /// In a message of its own, which the next vote changes.
    async fn show_votes_below(&self, chat: ChatKey, standing: &Standing) -> Result<(), Unsent> {
        let (step, part) = (standing.card.id, format!("votes {}", standing.card.digest.as_str()));
        let text = Styled::new().plain(&render::fitting(&standing.words(), MESSAGE / 2));
        if let Some(message) = self.last_of(chat, step, &part).await?
            && self.change(chat, message, &text, buttons::none()).await?
        {
            return Ok(());
        }
        let answers = self.message_of(chat, step).await?;
        let message = self.send(Out { chat, text: &text, buttons: None, answers }).await?;
        self.record(Parcel { chat, id: None, step: Some(step) }, &part, message).await;
        Ok(())
    }

    /// Whether this very card waits now.
    async fn waits(&self, card: &CardView) -> Result<bool, LedgerError> {
        let step = card.id;
        let row = self.engine()?.ledger().read(move |tx| steps::get(tx, step)).await?;
        Ok(row.is_some_and(|row| row.state == StepState::Waiting && row.digest == card.digest))
    }

    async fn show_decision(
        &self,
        chat: ChatKey,
        by: Option<String>,
        standing: &Standing,
    ) -> Result<(), Unsent> {
        let step = standing.card.id;
        self.0.live.begin(chat, step, by);
        // Held so that a status which is there already is not written over.
        let editing = self.0.live.editing(chat, step);
        let _guard = editing.lock().await;
        if self.0.live.is_shown(chat, step) {
            return Ok(());
        }
        let Some(message) = self.message_of(chat, step).await? else { return Ok(()) };
        let text = Styled::new().styled(Style::Bold, &format!("▶ {}", standing.words()));
        self.change(chat, message, &text, buttons::of_running(&standing.card.token)).await.map(drop)
    }

    /// The card becomes the headline; the agent's words answer it.
    pub(super) async fn show_result(&self, parcel: Parcel, view: &ResultView) -> Result<String, Unsent> {
        self.0.live.end(parcel.chat, view.id).await;
        self.clear_asks(parcel.chat, view.id).await?;
        let shown = render::result(view);
        let mut message = self.message_of(parcel.chat, view.id).await?;
        if let Some(card) = message
            && !self.change(parcel.chat, card, &shown.text, buttons::of_result(view)).await?
        {
            message = None;
        }
        if message.is_none() {
            message = self.pieces_once(parcel, "head", &shown.text, None).await?;
        }
        let last = self.parts_once(parcel, &shown.body, message).await?;
        if self.0.settings.send_patch
            && let Some((name, content)) = shown.attachment
        {
            let caption = format!("the changes of {}", view.id);
            if self.sent(parcel, "patch").await?.is_empty() {
                self.document(parcel, "patch", message, (&name, &caption, &content)).await?;
            }
        }
        Ok(last.or(message).map(|id| id.to_string()).unwrap_or_default())
    }

    pub(super) async fn show_text(&self, parcel: Parcel, text: &str) -> Result<String, Unsent> {
        let styled = Styled::new().plain(&connector_surface::text::visible(text));
        let last = self.pieces_once(parcel, "text", &styled, None).await?;
        Ok(last.map(|id| id.to_string()).unwrap_or_default())
    }

    /// Shows all of what somebody is to decide about: as a document or, in a chat that takes none,
    /// in messages. After an error not all of it can be read there: `above` is what was sent so far,
    /// first the document, with which the next try goes on.
    pub(super) async fn show_whole(
        &self,
        parcel: Parcel,
        part: &str,
        file: (&str, &str, &str),
        above: &mut Vec<i32>,
    ) -> Result<(), Unsent> {
        if above.is_empty() {
            above.push(self.document(parcel, part, None, file).await?);
        }
        if above[0] != 0 {
            return Ok(());
        }
        let pieces = Styled::new().plain(file.2).split(MESSAGE);
        if pieces.len() > WHOLE {
            return Err(Unsent::TooLong(WHOLE));
        }
        for text in pieces.iter().skip(above.len() - 1) {
            let id = self.send(Out { chat: parcel.chat, text, buttons: None, answers: None }).await?;
            self.record(parcel, part, id).await;
            above.push(id);
        }
        Ok(())
    }

    /// Sends a text in as many messages as it takes. After a failure it goes on
    /// with the piece that failed; one that Telegram does not take is left out.
    async fn pieces_once(
        &self,
        parcel: Parcel,
        part: &str,
        text: &Styled,
        answers: Option<i32>,
    ) -> Result<Option<i32>, Unsent> {
        let mut sent = self.sent(parcel, part).await?;
        for piece in text.split(MESSAGE).iter().skip(sent.len()) {
            let answers = answers.filter(|_| sent.is_empty());
            let out = Out { chat: parcel.chat, text: piece, buttons: None, answers };
            let id = match self.send(out).await {
                Ok(id) => id,
                Err(error @ (ApiError::Refused { .. } | ApiError::Unreadable { .. })) => {
                    tracing::error!(chat = %parcel.chat, reason = %error, "telegram does not take a message; it is left out");
                    0
                }
                Err(error) => return Err(error.into()),
            };
            self.record(parcel, part, id).await;
            sent.push(id);
        }
        Ok(sent.into_iter().rev().find(|id| *id != 0))
    }

    /// Sends a body. Code that Telegram does not take as a file is sent in messages.
    async fn parts_once(
        &self,
        parcel: Parcel,
        body: &[Part],
        answers: Option<i32>,
    ) -> Result<Option<i32>, Unsent> {
        let mut last = None;
        for (number, part) in body.iter().enumerate() {
            let answers = answers.filter(|_| number == 0);
            let place = format!("body {number}");
            let sent = match part {
                Part::Text(text) => self.pieces_once(parcel, &place, text, answers).await?,
                Part::File { name, content } => {
                    let what = if name.starts_with("code") { "code" } else { "all that the agent said" };
                    let caption = parcel.step.map_or_else(String::new, |step| format!("{what} of {step}"));
                    let id = match self.sent(parcel, &place).await?.first() {
                        Some(id) => *id,
                        None => self.document(parcel, &place, answers, (name, &caption, content)).await?,
                    };
                    if id == 0 {
                        let code = render::code(content, parcel.step);
                        self.pieces_once(parcel, &format!("code {number}"), &code, answers).await?
                    } else {
                        Some(id)
                    }
                }
            };
            last = sent.or(last);
        }
        Ok(last)
    }

    /// Sends a document; 0 if Telegram does not take it.
    async fn document(
        &self,
        parcel: Parcel,
        part: &str,
        answers: Option<i32>,
        (name, caption, content): (&str, &str, &str),
    ) -> Result<i32, ApiError> {
        let chat = parcel.chat;
        let document = Document {
            chat,
            reply_to: answers,
            name: name.to_owned(),
            caption: caption.to_owned(),
            content: Bytes::from(content.to_owned()),
        };
        self.turn(chat).await?;
        let id = match self.0.api.upload(&document).await {
            Ok(id) => id,
            Err(error @ ApiError::Refused { .. }) => {
                tracing::error!(%chat, reason = %error, "telegram does not take a document; it is left out");
                0
            }
            Err(error) => return Err(self.heard(chat, error)),
        };
        self.record(parcel, part, id).await;
        Ok(id)
    }

    /// Changes a message; whether it is there and can be changed.
    pub(super) async fn change(
        &self,
        chat: ChatKey,
        message: i32,
        text: &Styled,
        buttons: InlineKeyboardMarkup,
    ) -> Result<bool, Unsent> {
        self.turn(chat).await?;
        self.change_now(chat, message, text, buttons).await
    }

    /// The same, at a turn that was taken.
    pub(super) async fn change_now(
        &self,
        chat: ChatKey,
        message: i32,
        text: &Styled,
        buttons: InlineKeyboardMarkup,
    ) -> Result<bool, Unsent> {
        match self.edit_now(chat, message, text, buttons).await {
            Ok(()) => Ok(true),
            Err(error @ (ApiError::Gone | ApiError::Refused { .. } | ApiError::Unreadable { .. })) => {
                tracing::warn!(%chat, message, reason = %error, "a message cannot be changed");
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for its turn in a chat, unless Telegram has put that off for long.
    pub(super) async fn turn(&self, chat: ChatKey) -> Result<(), ApiError> {
        self.0.pace.turn(chat.id).await.map_err(|after| ApiError::Throttled { after })
    }

    /// Sends one message, at its turn.
    pub(super) async fn send(&self, out: Out<'_>) -> Result<i32, ApiError> {
        self.turn(out.chat).await?;
        self.send_now(out).await
    }

    /// Sends one message whose turn was taken.
    pub(super) async fn send_now(&self, out: Out<'_>) -> Result<i32, ApiError> {
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
        self.turn(chat).await?;
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
}
