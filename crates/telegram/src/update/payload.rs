//! What rules read as `trigger.…`: flat names and Telegram's own nested ones.

use frankenstein::types::{CallbackQuery, Chat, Message, User};
use serde_json::{Map, Value, json};

use crate::chat::ChatKey;

/// The payload of a message.
pub(super) fn of_message(
    message: &Message,
    user: &User,
    chat: ChatKey,
    text: &str,
    command: Option<&str>,
) -> Value {
    let args = match command {
        Some(command) => text.get(command.len() + 1..).unwrap_or_default().trim(),
        None => "",
    };
    let mut payload = common(&message.chat, user, chat, message.message_id);
    let more = json!({
        "text": text,
        "command": command.unwrap_or_default(),
        "args": args,
        "date": message.date,
        "files": [],
        "is_forwarded": message.forward_origin.is_some(),
        "is_edited": message.edit_date.is_some(),
        "reply_to_message_id": message.reply_to_message.as_ref().map(|it| it.message_id),
        "message": { "message_id": message.message_id, "text": text, "date": message.date },
    });
    extend(&mut payload, more);
    Value::Object(payload)
}

/// The payload of a tap.
pub(super) fn of_tap(query: &CallbackQuery, chat: ChatKey, message_id: i32, data: &str) -> Value {
    use frankenstein::types::MaybeInaccessibleMessage as Shown;
    let place = match &query.message {
        Some(Shown::Message(message)) => Some(&*message.chat),
        Some(Shown::InaccessibleMessage(message)) => Some(&message.chat),
        None => None,
    };
    let mut payload = place.map(|place| common(place, &query.from, chat, message_id)).unwrap_or_default();
    let more = json!({ "callback_query_id": query.id, "data": data, "callback_data": data });
    extend(&mut payload, more);
    Value::Object(payload)
}

fn common(place: &Chat, user: &User, chat: ChatKey, message_id: i32) -> Map<String, Value> {
    let mut payload = Map::new();
    let flat = json!({
        "chat_id": chat.id,
        "topic_id": chat.topic,
        "message_id": message_id,
        "user_id": user.id,
        "username": user.username,
        "first_name": user.first_name,
        "chat_type": place.type_field,
        "chat": { "id": chat.id, "type": place.type_field, "title": place.title, "username": place.username },
        "from": {
            "id": user.id,
            "is_bot": user.is_bot,
            "username": user.username,
            "first_name": user.first_name,
            "last_name": user.last_name,
            "language_code": user.language_code,
        },
    });
    extend(&mut payload, flat);
    payload
}

fn extend(payload: &mut Map<String, Value>, more: Value) {
    if let Value::Object(more) = more {
        payload.extend(more);
    }
}

/// A message with only the fields that are needed here.
pub(super) fn reduced(message: &Value) -> Option<Value> {
    const KEPT: [&str; 21] = [
        "message_id",
        "message_thread_id",
        "is_topic_message",
        "from",
        "sender_chat",
        "is_automatic_forward",
        "date",
        "edit_date",
        "chat",
        "text",
        "caption",
        "photo",
        "document",
        "animation",
        "video",
        "audio",
        "voice",
        "video_note",
        "media_group_id",
        "forward_origin",
        "via_bot",
    ];
    let all = message.as_object()?;
    let mut kept: Map<String, Value> = all
        .iter()
        .filter(|(key, _)| KEPT.contains(&key.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    if let Some(answered) = all.get("reply_to_message").and_then(reduced) {
        kept.insert("reply_to_message".to_owned(), answered);
    }
    Some(Value::Object(kept))
}
