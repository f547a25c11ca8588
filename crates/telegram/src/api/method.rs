//! Which parameters belong to which method, and what it answers.

use frankenstein::methods::{
    AnswerCallbackQueryParams, DeleteMessageParams, DeleteWebhookParams, EditMessageTextParams,
    GetFileParams, GetUpdatesParams, SendMessageParams, SendPhotoParams, SetMyCommandsParams,
    SetWebhookParams,
};
use frankenstein::types::{File, User};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The parameters of one method.
pub trait Method: Serialize {
    /// Its name in the path.
    const NAME: &'static str;
    /// What it answers, as far as it is looked at.
    type Answer: DeserializeOwned;
}

/// Parameters of `getMe`, which has none.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct GetMe {}

/// Parameters of `getWebhookInfo`, which has none.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct GetWebhookInfo {}

/// How a webhook does, as far as it is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct WebhookInfo {
    /// Its address; empty when none is set.
    pub url: String,
    /// How many updates wait to be brought.
    pub pending_update_count: u64,
    /// When bringing one failed last, in seconds since 1970; 0 is never.
    pub last_error_date: u64,
    /// Why it failed then.
    pub last_error_message: String,
}

/// A message that was sent. The rest of it says what was sent, and is not read:
/// a field that Telegram adds tomorrow must not make a sent message a failure.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Sent {
    /// Its id in its chat.
    pub message_id: i32,
}

macro_rules! method {
    ($params:ty, $name:literal, $answer:ty) => {
        impl Method for $params {
            const NAME: &'static str = $name;
            type Answer = $answer;
        }
    };
}

method!(GetMe, "getMe", User);
// Each update is read on its own, so that one that cannot be read does not hide the others.
method!(GetUpdatesParams, "getUpdates", Vec<Value>);
method!(SendMessageParams, "sendMessage", Sent);
method!(SendPhotoParams, "sendPhoto", Sent);
// An edit answers with the message, or with `true`.
method!(EditMessageTextParams, "editMessageText", Value);
method!(DeleteMessageParams, "deleteMessage", bool);
method!(AnswerCallbackQueryParams, "answerCallbackQuery", bool);
method!(SetMyCommandsParams, "setMyCommands", bool);
method!(SetWebhookParams, "setWebhook", bool);
method!(GetWebhookInfo, "getWebhookInfo", WebhookInfo);
method!(DeleteWebhookParams, "deleteWebhook", bool);
method!(GetFileParams, "getFile", File);
