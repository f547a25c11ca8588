//! An event as a file: what `dry-run` is shown.

use std::io::Read as _;
use std::path::Path;

use connector_gate::policy::Actor;
use connector_ledger::events::{NewEvent, ReplyTo};
use connector_surface::MAIN_CHAT;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::catalog;
use crate::console;
use crate::exit::Failure;

/// What a file may say. An event printed by `runs show --json` is one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventFile {
    #[serde(default)]
    id: Value,
    #[serde(default = "surface")]
    surface: String,
    #[serde(default = "connector")]
    connector: String,
    #[serde(default = "event")]
    event: String,
    #[serde(default = "chat")]
    chat: String,
    #[serde(default = "console::Console::user")]
    requester: Actor,
    #[serde(default = "empty")]
    payload: Value,
    #[serde(default)]
    reply: Option<ReplyTo>,
    #[serde(default, rename = "received_at")]
    _received_at: Value,
}

/// Reads the event in `path`; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<NewEvent, Failure> {
    let cannot = |error: &dyn std::error::Error| {
        Failure::usage(format!("the event {} cannot be read: {error}", path.display()))
    };
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(|error| cannot(&error))?;
    let file: EventFile = serde_json::from_str(&text).map_err(|error| cannot(&error))?;
    let platform_id = match file.id {
        Value::String(id) => id,
        Value::Null => "dry-run".to_owned(),
        other => other.to_string(),
    };
    Ok(NewEvent {
        surface: file.surface,
        platform_id,
        connector: file.connector,
        event: file.event,
        chat: file.chat,
        requester: file.requester,
        payload: file.payload,
        reply: file.reply,
    })
}

fn surface() -> String {
    console::NAME.to_owned()
}

fn connector() -> String {
    catalog::CONSOLE.to_owned()
}

fn event() -> String {
    "message_received".to_owned()
}

fn chat() -> String {
    MAIN_CHAT.to_owned()
}

fn empty() -> Value {
    json!({})
}
