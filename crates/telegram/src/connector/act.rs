//! The actions, one method of the Bot API each.

use connector_contract::{ActionResult, ConnectorError, Reference};
use frankenstein::input_file::FileUpload;
use frankenstein::methods::{
    AnswerCallbackQueryParams, DeleteMessageParams, EditMessageTextParams, SendMessageParams, SendPhotoParams,
};
use frankenstein::types::{ChatId, ReplyMarkup};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::input::{
    AnswerQuery, DeleteMessage, EditMessage, Place, SendDocument, SendKeyboard, SendMessage, SendPhoto,
    keyboard,
};
use crate::api::{Api, ApiError, Document};
use crate::chat::ChatKey;
use crate::text::{CAPTION, MESSAGE, Styled, units};

/// What there is, in the manifest's order.
#[cfg(test)]
pub(super) const ACTIONS: [&str; 7] = [
    "send_message",
    "edit_message",
    "delete_message",
    "send_document",
    "send_photo",
    "send_inline_keyboard",
    "answer_callback_query",
];

/// Carries out `action`.
pub(super) async fn execute(api: &Api, action: &str, input: Value) -> Result<ActionResult, ConnectorError> {
    match action {
        "send_message" => send_message(api, read(input)?).await,
        "edit_message" => edit_message(api, read(input)?).await,
        "delete_message" => delete_message(api, read(input)?).await,
        "send_document" => send_document(api, read(input)?).await,
        "send_photo" => send_photo(api, read(input)?).await,
        "send_inline_keyboard" => send_keyboard(api, read(input)?).await,
        "answer_callback_query" => answer_query(api, read(input)?).await,
        _ => Err(ConnectorError::UnknownAction {
            connector: crate::NAME.to_owned(),
            action: action.to_owned(),
        }),
    }
}

fn read<T: DeserializeOwned>(input: Value) -> Result<T, ConnectorError> {
    connector_contract::decode(input).map_err(invalid)
}

fn invalid(reason: impl Into<String>) -> ConnectorError {
    ConnectorError::InvalidInput { reason: reason.into() }
}

/// It was on its way: nobody knows whether it arrived.
pub(super) fn cut_off(reason: &str) -> ConnectorError {
    ConnectorError::OutcomeUnknown { reason: reason.to_owned(), reference: Reference::default() }
}

fn done(output: Value, message: &str) -> ActionResult {
    ActionResult { success: true, output, message: message.to_owned() }
}

/// What a caller must assume after an error of the Bot API.
fn consequence(error: ApiError) -> ConnectorError {
    let reason = error.to_string();
    match error {
        ApiError::Network(source) if source.nothing_sent() => {
            ConnectorError::Unavailable { reason, source: Some(source) }
        }
        ApiError::Network(_) | ApiError::TimedOut | ApiError::Server { .. } => cut_off(&reason),
        ApiError::Unauthorized => ConnectorError::Unauthorized { reason },
        ApiError::Throttled { .. } => ConnectorError::Unavailable { reason, source: None },
        _ => ConnectorError::Refused { reason },
    }
}

async fn send_message(api: &Api, input: SendMessage) -> Result<ActionResult, ConnectorError> {
    let pieces = Styled::new().plain(&input.text).split(MESSAGE);
    if pieces.is_empty() {
        return Err(invalid("`text` is blank"));
    }
    let mut ids: Vec<i32> = Vec::new();
    for piece in pieces {
        let reply = if ids.is_empty() { input.place.reply() } else { None };
        let message = SendMessageParams::builder()
            .chat_id(input.place.chat_id.id())
            .maybe_message_thread_id(input.place.topic_id)
            .text(piece.text())
            .disable_notification(input.place.disable_notification)
            .maybe_reply_parameters(reply)
            .build();
        match api.call(&message).await {
            Ok(sent) => ids.push(sent.message_id),
            Err(error) if ids.is_empty() => return Err(consequence(error)),
            Err(error) => {
                let reason = format!("only {} of the message's pieces were sent: {error}", ids.len());
                return Err(ConnectorError::Failed { reason, reference: Reference::default() });
            }
        }
    }
    Ok(done(json!({ "message_id": ids.first(), "message_ids": ids }), "sent"))
}

async fn send_keyboard(api: &Api, input: SendKeyboard) -> Result<ActionResult, ConnectorError> {
    short_enough(&input.text)?;
    let message = SendMessageParams::builder()
        .chat_id(input.place.chat_id.id())
        .maybe_message_thread_id(input.place.topic_id)
        .text(&input.text)
        .disable_notification(input.place.disable_notification)
        .maybe_reply_parameters(input.place.reply())
        .reply_markup(ReplyMarkup::InlineKeyboardMarkup(keyboard(input.buttons).map_err(invalid)?))
        .build();
    let sent = api.call(&message).await.map_err(consequence)?;
    Ok(done(json!({ "message_id": sent.message_id }), "sent"))
}

async fn edit_message(api: &Api, input: EditMessage) -> Result<ActionResult, ConnectorError> {
    short_enough(&input.text)?;
    let edit = EditMessageTextParams::builder()
        .chat_id(input.chat_id.id())
        .message_id(input.message_id)
        .text(&input.text)
        .build();
    match api.call(&edit).await {
        Ok(_) | Err(ApiError::NotModified) => Ok(done(json!({ "message_id": input.message_id }), "edited")),
        Err(error) => Err(consequence(error)),
    }
}

async fn delete_message(api: &Api, input: DeleteMessage) -> Result<ActionResult, ConnectorError> {
    let delete =
        DeleteMessageParams::builder().chat_id(input.chat_id.id()).message_id(input.message_id).build();
    match api.call(&delete).await {
        Ok(_) | Err(ApiError::Gone) => Ok(done(json!({ "deleted": true }), "deleted")),
        Err(error) => Err(consequence(error)),
    }
}

async fn send_document(api: &Api, input: SendDocument) -> Result<ActionResult, ConnectorError> {
    let silent = input.place.disable_notification;
    short_caption(&input.caption)?;
    let document = Document {
        chat: chat_key(&input.place)?,
        reply_to: input.place.reply_to_message_id,
        name: input.filename,
        caption: input.caption,
        content: input.content.into(),
    };
    let id = api.upload_as(&document, silent).await.map_err(consequence)?;
    Ok(done(json!({ "message_id": id }), "sent"))
}

fn chat_key(place: &Place) -> Result<ChatKey, ConnectorError> {
    match place.chat_id.id() {
        ChatId::Integer(id) => Ok(ChatKey { id, topic: place.topic_id }),
        ChatId::String(_) => Err(invalid("`chat_id` takes a number")),
    }
}

async fn send_photo(api: &Api, input: SendPhoto) -> Result<ActionResult, ConnectorError> {
    short_caption(input.caption.as_deref().unwrap_or_default())?;
    let photo = SendPhotoParams::builder()
        .chat_id(input.place.chat_id.id())
        .maybe_message_thread_id(input.place.topic_id)
        .photo(FileUpload::String(input.photo))
        .maybe_caption(input.caption)
        .disable_notification(input.place.disable_notification)
        .maybe_reply_parameters(input.place.reply())
        .build();
    let sent = api.call(&photo).await.map_err(consequence)?;
    Ok(done(json!({ "message_id": sent.message_id }), "sent"))
}

async fn answer_query(api: &Api, input: AnswerQuery) -> Result<ActionResult, ConnectorError> {
    let answer = AnswerCallbackQueryParams::builder()
        .callback_query_id(input.callback_query_id)
        .maybe_text(input.text)
        .show_alert(input.show_alert)
        .build();
    match api.call(&answer).await {
        Ok(_) => Ok(done(json!({ "answered": true }), "answered")),
        Err(ApiError::TooOld) => Ok(done(json!({ "answered": false }), "too old to be answered")),
        Err(error) => Err(consequence(error)),
    }
}

fn short_caption(caption: &str) -> Result<(), ConnectorError> {
    match units(caption) {
        count if count > CAPTION => {
            Err(invalid(format!("`caption` has {count} UTF-16 units; {CAPTION} fit")))
        }
        _ => Ok(()),
    }
}

/// One message that cannot be split.
fn short_enough(text: &str) -> Result<(), ConnectorError> {
    match units(text) {
        _ if text.trim().is_empty() => Err(invalid("`text` is blank")),
        count if count > MESSAGE => Err(invalid(format!("`text` has {count} UTF-16 units; {MESSAGE} fit"))),
        _ => Ok(()),
    }
}
