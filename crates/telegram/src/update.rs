//! What one update means: a pure function of the update and who is allowed.
//!
//! Whoever is not allowed gets [`Incoming::Ignored`], which the caller answers
//! with nothing at all. Who somebody is comes from `from`, never from the chat;
//! whoever speaks as a group or a channel is nobody.

mod attachment;
mod payload;

use std::collections::BTreeSet;

use frankenstein::types::{CallbackQuery, MaybeInaccessibleMessage, Message, User};
use frankenstein::updates::{Update, UpdateContent};
use serde_json::Value;

pub use attachment::Attachment;

use crate::chat::ChatKey;

/// Whose updates come in. Empty means nobody's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allow {
    /// Who may write to the bot in private.
    pub users: BTreeSet<u64>,
    /// The groups whose members may write to it.
    pub chats: BTreeSet<i64>,
}

/// The bot itself, as `getMe` describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Me {
    /// Its user id.
    pub id: u64,
    /// Its name without `@`.
    pub username: String,
}

/// An update, understood.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// Somebody wrote something.
    Message(Box<Received>),
    /// Somebody tapped a button.
    Tap(Box<Tap>),
    /// Nothing for us.
    Ignored(Ignored),
}

/// A message of somebody who is allowed.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// Telegram's number of the update; a redelivery has the same.
    pub update_id: u32,
    /// Where.
    pub chat: ChatKey,
    /// Who.
    pub user: u64,
    /// The message's id in its chat.
    pub message_id: i32,
    /// Its text or caption; a command's `@thisbot` is taken off.
    pub text: String,
    /// How long it was as it was sent, in UTF-16 units.
    pub units: usize,
    /// The command it begins with, without `/`.
    pub command: Option<String>,
    /// The file that hangs on it.
    pub file: Option<Attachment>,
    /// What it is, in a word for people, where it has neither words nor a file.
    pub other: Option<&'static str>,
    /// Whether it was just written.
    pub kind: Kind,
    /// The message of the bot that it answers.
    pub reply_to: Option<i32>,
    /// What rules see.
    pub payload: Value,
}

/// How a message came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Written by its sender just now.
    Fresh,
    /// Somebody else's words, passed on, or a bot's, sent through it.
    Forwarded,
    /// Changed after it was sent.
    Edited,
}

/// A tap of somebody.
#[derive(Debug, Clone, PartialEq)]
pub struct Tap {
    /// Telegram's number of the update.
    pub update_id: u32,
    /// What the tap is answered by.
    pub query: String,
    /// Where the button is.
    pub chat: ChatKey,
    /// Who tapped.
    pub user: u64,
    /// The message with the button.
    pub message_id: i32,
    /// What the button says, at most 64 bytes. Anybody can send anything here.
    pub data: String,
    /// What rules see.
    pub payload: Value,
}

/// Why an update means nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// Neither the person nor the group is allowed.
    Stranger,
    /// Sent in the name of a group or a channel, or by a bot: nobody to hold to it.
    Anonymous,
    /// A command for another bot.
    NotForUs,
    /// Neither a text nor a file.
    Empty,
    /// A kind of update that is not looked at.
    Kind,
    /// Not what the Bot API says an update is.
    Unreadable,
}

impl Allow {
    /// In private the person counts, in a group the group does: a person's own
    /// permission must not carry what the agent says into a group of strangers.
    fn admits(&self, chat: ChatKey, user: u64) -> bool {
        if chat.is_private() { self.users.contains(&user) } else { self.chats.contains(&chat.id) }
    }
}

/// The number of an update, whatever else it is.
pub fn number(raw: &Value) -> Option<u32> {
    raw.get("update_id").and_then(Value::as_u64).and_then(|id| id.try_into().ok())
}

/// Reads one update.
pub fn read(raw: &Value, allow: &Allow, me: &Me) -> Incoming {
    let ignored = Incoming::Ignored;
    let Some(update) = decode(raw) else { return ignored(Ignored::Unreadable) };
    let heard = |message: &Message, kind| {
        let other =
            ["message", "edited_message"].iter().find_map(|name| raw.get(name)).and_then(attachment::other);
        received(update.update_id, message, (kind, other), allow, me)
    };
    let understood = match update.content {
        UpdateContent::Message(ref message) => heard(message, Kind::Fresh),
        UpdateContent::EditedMessage(ref message) => heard(message, Kind::Edited),
        UpdateContent::CallbackQuery(query) => tap(update.update_id, &query, allow),
        UpdateContent::ChannelPost(_) | UpdateContent::EditedChannelPost(_) => Err(Ignored::Anonymous),
        _ => Err(Ignored::Kind),
    };
    understood.unwrap_or_else(ignored)
}

/// A message may carry a kind of content that is newer than the types here. What
/// is needed of it is old: then that alone is read.
fn decode(raw: &Value) -> Option<Update> {
    if let Ok(update) = serde_json::from_value(raw.clone()) {
        return Some(update);
    }
    let mut reduced = serde_json::Map::new();
    reduced.insert("update_id".to_owned(), raw.get("update_id")?.clone());
    for kind in ["message", "edited_message"] {
        if let Some(message) = raw.get(kind) {
            reduced.insert(kind.to_owned(), payload::reduced(message)?);
        }
    }
    serde_json::from_value(Value::Object(reduced)).ok()
}

fn received(
    update_id: u32,
    message: &Message,
    (kind, other): (Kind, Option<&'static str>),
    allow: &Allow,
    me: &Me,
) -> Result<Incoming, Ignored> {
    let user = person(message)?;
    let chat = place(message);
    if !allow.admits(chat, user.id) {
        return Err(Ignored::Stranger);
    }
    let words = message.text.as_deref().or(message.caption.as_deref()).unwrap_or_default();
    let (command, text) = command(words, me)?;
    let file = attachment::of(message);
    let other = other.filter(|_| text.is_empty() && file.is_none());
    if text.is_empty() && file.is_none() && other.is_none() {
        return Err(Ignored::Empty);
    }
    // Nor did anybody type what a bot wrote for them.
    let passed_on = message.forward_origin.is_some() || message.via_bot.is_some();
    let kind = if passed_on { Kind::Forwarded } else { kind };
    // In a topic, every message answers the one that opened it.
    let answered = message.reply_to_message.as_deref().filter(|it| Some(it.message_id) != chat.topic);
    let reply_to =
        answered.filter(|it| it.from.as_ref().is_some_and(|from| from.id == me.id)).map(|it| it.message_id);
    let payload = payload::of_message(message, user, chat, &text, command.as_deref());
    let (user, message_id) = (user.id, message.message_id);
    Ok(Incoming::Message(Box::new(Received {
        update_id,
        chat,
        user,
        message_id,
        text,
        units: crate::text::units(words),
        command,
        file,
        other,
        kind,
        reply_to,
        payload,
    })))
}

/// Who wrote it, if it is a person in their own name.
fn person(message: &Message) -> Result<&User, Ignored> {
    let in_own_name = message.sender_chat.is_none() && message.is_automatic_forward != Some(true);
    let user = message.from.as_deref().filter(|user| in_own_name && !user.is_bot);
    user.ok_or(Ignored::Anonymous)
}

fn place(message: &Message) -> ChatKey {
    let topic = message.message_thread_id.filter(|_| message.is_topic_message == Some(true));
    ChatKey { id: message.chat.id, topic }
}

/// The command a text begins with, and the text without `@thisbot`.
fn command(words: &str, me: &Me) -> Result<(Option<String>, String), Ignored> {
    let Some(rest) = words.strip_prefix('/') else { return Ok((None, words.to_owned())) };
    let (name, args) = match rest.find(char::is_whitespace) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (name, bot) = name.split_once('@').map_or((name, None), |(name, bot)| (name, Some(bot)));
    // A path begins with a slash too.
    if name.is_empty() || !name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_') {
        return Ok((None, words.to_owned()));
    }
    let Some(bot) = bot else { return Ok((Some(name.to_owned()), words.to_owned())) };
    if bot.eq_ignore_ascii_case(&me.username) {
        Ok((Some(name.to_owned()), format!("/{name}{args}")))
    } else {
        Err(Ignored::NotForUs)
    }
}

fn tap(update_id: u32, query: &CallbackQuery, allow: &Allow) -> Result<Incoming, Ignored> {
    if query.from.is_bot {
        return Err(Ignored::Anonymous);
    }
    let (chat, message_id) = match &query.message {
        Some(MaybeInaccessibleMessage::Message(message)) => (place(message), message.message_id),
        Some(MaybeInaccessibleMessage::InaccessibleMessage(message)) => {
            (ChatKey { id: message.chat.id, topic: None }, message.message_id)
        }
        None => return Err(Ignored::Kind),
    };
    if !allow.admits(chat, query.from.id) {
        return Err(Ignored::Stranger);
    }
    let data = query.data.clone().ok_or(Ignored::Kind)?;
    let payload = payload::of_tap(query, chat, message_id, &data);
    let (query, user) = (query.id.clone(), query.from.id);
    Ok(Incoming::Tap(Box::new(Tap { update_id, query, chat, user, message_id, data, payload })))
}

#[cfg(test)]
mod tests;
