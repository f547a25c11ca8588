//! The methods: what each checks and does.

use serde_json::{Value, json};

use super::BOT;
use super::state::{Shown, State};

/// A refusal: code, description, and the wait it names.
pub(super) type Refusal = (u16, String, Option<u64>);

/// Carries a method out; `getUpdates` is the server's.
pub(super) fn carry_out(state: &mut State, method: &str, params: &Value) -> Result<Value, Refusal> {
    match method {
        "getMe" => Ok(json!({ "id": BOT, "is_bot": true, "first_name": "Fake", "username": "fake_bot" })),
        "sendMessage" => send(state, params, "text", 4_096),
        "sendDocument" | "sendPhoto" => send(state, params, "caption", 1_024),
        "editMessageText" => edit(state, params),
        "deleteMessage" => delete(state, params),
        "answerCallbackQuery" => answer_query(state, params),
        "getFile" => get_file(state, params),
        "setMyCommands" => Ok(json!(true)),
        "setWebhook" | "deleteWebhook" => {
            // Setting it to nothing removes it.
            params["url"].as_str().unwrap_or_default().clone_into(&mut state.webhook);
            Ok(json!(true))
        }
        "getWebhookInfo" => Ok(json!({
            "url": state.webhook, "has_custom_certificate": false, "pending_update_count": state.updates.len(),
            "last_error_date": state.webhook_error.0, "last_error_message": state.webhook_error.1,
        })),
        _ => Err((404, "Not Found".into(), None)),
    }
}

fn bad(description: &str) -> Refusal {
    (400, format!("Bad Request: {description}"), None)
}

fn send(state: &mut State, params: &Value, words: &str, most: usize) -> Result<Value, Refusal> {
    let chat = params["chat_id"].as_i64().ok_or_else(|| bad("chat not found"))?;
    let text = checked_text(params, words, most)?;
    let (buttons, data) = keyboard(&params["reply_markup"])?;
    pace(state, chat)?;
    let id = state.next_message(chat);
    let content = params["document_content"].as_str().map(str::to_owned);
    let name = params["document_name"].as_str().unwrap_or_default().to_owned();
    state.screen.push(Shown {
        chat,
        topic: params["message_thread_id"].as_i64(),
        id,
        text,
        entities: shown_entities(params),
        buttons,
        data,
        answers: params["reply_parameters"]["message_id"].as_i64().and_then(|it| i32::try_from(it).ok()),
        document: content.map(|content| (name, content)),
        edits: 0,
    });
    Ok(json!({ "message_id": id, "date": 1, "chat": super::chat_of(chat) }))
}

/// Messages and edits count alike.
fn pace(state: &mut State, chat: i64) -> Result<(), Refusal> {
    match state.limits.refuse(chat) {
        Some(wait) => Err((429, format!("Too Many Requests: retry after {wait}"), Some(wait))),
        None => Ok(()),
    }
}

fn checked_text(params: &Value, words: &str, most: usize) -> Result<String, Refusal> {
    if params.get("parse_mode").is_some_and(|mode| !mode.is_null()) {
        return Err(bad("can't parse entities: unsupported start tag at byte offset 0"));
    }
    let text = params[words].as_str().unwrap_or_default().trim().to_owned();
    if words == "text" && text.is_empty() {
        return Err(bad("message text is empty"));
    }
    let length = text.encode_utf16().count();
    if length > most {
        return Err(bad(if words == "text" { "message is too long" } else { "message caption is too long" }));
    }
    let entities = params["entities"].as_array().map(Vec::as_slice).unwrap_or_default();
    let past = |it: &Value| it["offset"].as_u64().unwrap_or(0) + it["length"].as_u64().unwrap_or(0);
    let written = params[words].as_str().unwrap_or_default().encode_utf16().count() as u64;
    if entities.iter().any(|entity| past(entity) > written) {
        return Err(bad("entity is out of the text"));
    }
    Ok(text)
}

/// Of more than a hundred styles Telegram shows the first hundred, and says nothing.
fn shown_entities(params: &Value) -> Value {
    let entities = params["entities"].as_array();
    entities.map_or(Value::Null, |all| all.iter().take(100).cloned().collect())
}

type Rows = Vec<Vec<String>>;

fn keyboard(markup: &Value) -> Result<(Rows, Rows), Refusal> {
    let (mut labels, mut data) = (Vec::new(), Vec::new());
    for row in markup["inline_keyboard"].as_array().into_iter().flatten() {
        let (mut row_labels, mut row_data) = (Vec::new(), Vec::new());
        for button in row.as_array().into_iter().flatten() {
            let carried = button["callback_data"].as_str().unwrap_or_default();
            if carried.len() > 64 || (carried.is_empty() && button["url"].is_null()) {
                return Err(bad("BUTTON_DATA_INVALID"));
            }
            let label = button["text"].as_str().unwrap_or_default();
            if label.trim().is_empty() {
                return Err(bad("text buttons are not allowed to be empty"));
            }
            row_labels.push(label.to_owned());
            row_data.push(carried.to_owned());
        }
        labels.push(row_labels);
        data.push(row_data);
    }
    if data.iter().flatten().count() > 100 {
        return Err(bad("reply markup is too long"));
    }
    Ok((labels, data))
}

fn edit(state: &mut State, params: &Value) -> Result<Value, Refusal> {
    let text = checked_text(params, "text", 4_096)?;
    let (buttons, data) = keyboard(&params["reply_markup"])?;
    pace(state, params["chat_id"].as_i64().unwrap_or_default())?;
    let shown = state
        .screen
        .iter_mut()
        .find(|shown| params["chat_id"] == shown.chat && params["message_id"] == shown.id)
        .ok_or_else(|| bad("message to edit not found"))?;
    if shown.text == text && shown.data == data && shown.buttons == buttons {
        return Err(bad(
            "message is not modified: specified new message content and reply markup are exactly the same",
        ));
    }
    (shown.text, shown.buttons, shown.data) = (text, buttons, data);
    shown.entities = shown_entities(params);
    shown.edits += 1;
    Ok(json!({ "message_id": shown.id, "date": 1, "chat": super::chat_of(shown.chat) }))
}

fn delete(state: &mut State, params: &Value) -> Result<Value, Refusal> {
    let before = state.screen.len();
    state.screen.retain(|shown| params["chat_id"] != shown.chat || params["message_id"] != shown.id);
    if state.screen.len() < before { Ok(json!(true)) } else { Err(bad("message to delete not found")) }
}

fn get_file(state: &State, params: &Value) -> Result<Value, Refusal> {
    let id = params["file_id"].as_str().unwrap_or_default();
    let content = id.parse().ok().and_then(|at: usize| state.files.get(at));
    match content {
        Some(content) if content.len() > 20 << 20 => Err(bad("file is too big")),
        Some(content) => Ok(json!({
            "file_id": id, "file_unique_id": id, "file_size": content.len(), "file_path": format!("documents/{id}"),
        })),
        None => Err(bad("wrong file_id or the file is temporarily unavailable")),
    }
}

fn answer_query(state: &mut State, params: &Value) -> Result<Value, Refusal> {
    if params["text"].as_str().is_some_and(|text| text.chars().count() > 200) {
        return Err(bad("MESSAGE_TOO_LONG"));
    }
    let id = params["callback_query_id"].as_str().unwrap_or_default();
    match state.open_queries.iter().position(|open| open == id) {
        Some(at) => {
            state.open_queries.remove(at);
            Ok(json!(true))
        }
        None => Err(bad("query is too old and response timeout expired or query ID is invalid")),
    }
}
