//! The inputs of the actions.

use frankenstein::types::{ChatId, InlineKeyboardButton, InlineKeyboardMarkup, ReplyParameters};
use serde::Deserialize;

/// Where a message goes, and what it answers.
#[derive(Debug, Deserialize)]
pub(super) struct Place {
    pub(super) chat_id: Chat,
    #[serde(default, alias = "message_thread_id")]
    pub(super) topic_id: Option<i32>,
    #[serde(default)]
    pub(super) reply_to_message_id: Option<i32>,
    #[serde(default)]
    pub(super) disable_notification: bool,
}

/// A chat's id, also as a text: templates make texts of numbers.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Chat {
    Number(i64),
    Text(String),
}

#[derive(Debug, Deserialize)]
pub(super) struct SendMessage {
    #[serde(flatten)]
    pub(super) place: Place,
    pub(super) text: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct SendKeyboard {
    #[serde(flatten)]
    pub(super) place: Place,
    pub(super) text: String,
    pub(super) buttons: Vec<Vec<Button>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Button {
    text: String,
    callback_data: Option<String>,
    url: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct EditMessage {
    pub(super) chat_id: Chat,
    pub(super) message_id: i32,
    pub(super) text: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct DeleteMessage {
    pub(super) chat_id: Chat,
    pub(super) message_id: i32,
}

#[derive(Debug, Deserialize)]
pub(super) struct SendDocument {
    #[serde(flatten)]
    pub(super) place: Place,
    pub(super) filename: String,
    pub(super) content: String,
    #[serde(default)]
    pub(super) caption: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct SendPhoto {
    #[serde(flatten)]
    pub(super) place: Place,
    pub(super) photo: String,
    #[serde(default)]
    pub(super) caption: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AnswerQuery {
    pub(super) callback_query_id: String,
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) show_alert: bool,
}

impl Chat {
    pub(super) fn id(&self) -> ChatId {
        match self {
            Self::Number(number) => ChatId::Integer(*number),
            Self::Text(text) => text.parse().map_or_else(|_| ChatId::String(text.clone()), ChatId::Integer),
        }
    }
}

impl Place {
    pub(super) fn reply(&self) -> Option<ReplyParameters> {
        let message = self.reply_to_message_id?;
        Some(ReplyParameters::builder().message_id(message).allow_sending_without_reply(true).build())
    }
}

/// The buttons as the Bot API takes them; the first problem in words.
pub(super) fn keyboard(rows: Vec<Vec<Button>>) -> Result<InlineKeyboardMarkup, String> {
    let mut keyboard = Vec::new();
    for row in rows {
        let mut buttons = Vec::new();
        for Button { text, callback_data, url } in row {
            if callback_data.is_some() == url.is_some() {
                return Err(format!("button `{text}` takes either `callback_data` or `url`"));
            }
            if callback_data
                .as_ref()
                .is_some_and(|data| data.len() > crate::text::CALLBACK || data.is_empty())
            {
                return Err(format!("the `callback_data` of button `{text}` takes 1 to 64 bytes"));
            }
            let button = InlineKeyboardButton::builder().text(text);
            buttons.push(button.maybe_callback_data(callback_data).maybe_url(url).build());
        }
        keyboard.push(buttons);
    }
    Ok(InlineKeyboardMarkup::builder().inline_keyboard(keyboard).build())
}
