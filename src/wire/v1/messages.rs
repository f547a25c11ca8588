//! Messages: the daemon's record of a turn, and the proof of its end.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::text::Text;
use crate::ids::MessageId;
use crate::model::ModelRef;
use crate::output::{CacheTokens, FileChange, Tokens};
use crate::wire::{Ending, Failure, FailureKind, Head, History, Message, Undecodable};

#[derive(Deserialize)]
pub(super) struct RawMessage<'a> {
    #[serde(borrow)]
    pub(super) info: &'a RawValue,
    #[serde(borrow)]
    pub(super) parts: &'a RawValue,
}

#[derive(Deserialize)]
struct Info<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow, rename = "parentID", default)]
    parent: Option<Text<'a>>,
    time: Time,
    #[serde(borrow, default)]
    finish: Option<Text<'a>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(default)]
    cost: Option<f64>,
    #[serde(default)]
    tokens: Option<RawTokens>,
}

#[derive(Deserialize)]
struct Time {
    #[serde(default)]
    completed: Option<f64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawTokens {
    input: f64,
    output: f64,
    reasoning: f64,
    cache: RawCache,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawCache {
    read: f64,
    write: f64,
}

#[derive(Deserialize)]
struct RawError<'a> {
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    #[serde(borrow, default, alias = "_tag")]
    tag: Option<Text<'a>>,
    #[serde(borrow, default)]
    message: Option<Text<'a>>,
    #[serde(borrow, default)]
    data: Option<RawErrorData<'a>>,
}

#[derive(Deserialize)]
struct RawErrorData<'a> {
    #[serde(borrow, default)]
    message: Option<Text<'a>>,
    #[serde(default, rename = "statusCode")]
    status: Option<f64>,
    #[serde(borrow, default, rename = "providerID")]
    provider: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(default)]
    synthetic: Option<bool>,
    #[serde(default)]
    ignored: Option<bool>,
    #[serde(borrow, default)]
    files: Option<Vec<Text<'a>>>,
    #[serde(borrow, default)]
    state: Option<ToolEnd<'a>>,
}

#[derive(Deserialize)]
struct ToolEnd<'a> {
    #[serde(borrow, default)]
    error: Option<Text<'a>>,
}

/// What a message's parts come to.
#[derive(Default)]
struct Parts {
    text: String,
    touched: Vec<FileChange>,
    refused: bool,
}

/// Why a JSON text does not fit, without quoting it.
pub(super) fn undecodable(what: &'static str) -> impl Fn(serde_json::Error) -> Undecodable {
    move |error| {
        let kind = match error.classify() {
            serde_json::error::Category::Data => "a field is missing or of another type",
            _ => "not JSON",
        };
        Undecodable { what, why: format!("{kind}, at byte {} of line {}", error.column(), error.line()) }
    }
}

/// Reads `info`. The user's own messages have no parent.
pub(super) fn head(info: &str) -> Result<Head, Undecodable> {
    let info: Info<'_> = serde_json::from_str(info).map_err(undecodable("a message"))?;
    let tokens = info.tokens.unwrap_or_default();
    Ok(Head {
        id: info.id.into_owned(),
        parent: if info.role == "assistant" { info.parent.map(Text::into_owned) } else { None },
        completed: info.time.completed.is_some(),
        ending: info.finish.as_deref().and_then(ending),
        failure: info.error.and_then(|error| failure(error.get())),
        cost: info.cost.unwrap_or_default(),
        tokens: Tokens {
            input: whole(tokens.input),
            output: whole(tokens.output),
            reasoning: whole(tokens.reasoning),
            cache: CacheTokens { read: whole(tokens.cache.read), write: whole(tokens.cache.write) },
        },
    })
}

/// The daemon goes on after `tool-calls` and after `unknown`.
fn ending(finish: &str) -> Option<Ending> {
    match finish {
        "" => None,
        "tool-calls" | "unknown" => Some(Ending::Tools),
        _ => Some(Ending::Final),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and counts are small"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

/// Reads `{name, data: {message}}` and its relatives.
pub(super) fn failure(error: &str) -> Option<Failure> {
    if error == "null" {
        return None;
    }
    let other = |reason: &str| Some(Failure { kind: FailureKind::Other, reason: reason.to_owned() });
    let Ok(error) = serde_json::from_str::<RawError<'_>>(error) else {
        return other("the daemon reports an error in a shape of its own");
    };
    let name = error.name.or(error.tag).map_or(Cow::Borrowed("UnknownError"), Text::into_cow);
    let (status, provider) =
        error.data.as_ref().map_or((None, None), |data| (data.status, data.provider.as_deref()));
    let message = error.data.as_ref().and_then(|data| data.message.as_deref()).or(error.message.as_deref());
    let message = message.unwrap_or("no reason given").trim();
    let kind = match name.as_ref() {
        "MessageAbortedError" => FailureKind::Aborted,
        "UnknownError" if message.contains("Check server logs") => FailureKind::Opaque,
        _ if name.contains("ModelNotFound") || message.contains("Model not found") => {
            FailureKind::UnknownModel
        }
        _ => FailureKind::Other,
    };
    let mut reason = shorten(message, 2000);
    match (status, provider) {
        (Some(status), _) => reason = format!("{reason} (the model's provider answered {})", whole(status)),
        (None, Some(provider)) => reason = format!("{reason} (provider {})", shorten(provider, 100)),
        (None, None) => {}
    }
    if !matches!(name.as_ref(), "UnknownError" | "APIError") {
        reason = format!("{}: {reason}", shorten(&name, 100));
    }
    Some(Failure { kind, reason })
}

pub(super) fn shorten(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some((cut, _)) => format!("{}…", &text[..cut]),
    }
}

/// Reads `{info, parts}`.
pub(super) fn message(raw: &RawMessage<'_>) -> Result<Message, Undecodable> {
    let head = head(raw.info.get())?;
    let whole = |text: &str| serde_json::from_str::<Value>(text).map_err(undecodable("a message"));
    let Parts { text, touched, refused } = parts(raw.parts.get())?;
    Ok(Message {
        head,
        text,
        touched,
        refused,
        raw: json!({ "info": whole(raw.info.get())?, "parts": whole(raw.parts.get())? }),
    })
}

fn parts(parts: &str) -> Result<Parts, Undecodable> {
    let list: Vec<Part<'_>> = serde_json::from_str(parts).map_err(undecodable("a message's parts"))?;
    let (mut texts, mut parts) = (Vec::new(), Parts::default());
    for part in list {
        let spoken = !part.synthetic.unwrap_or(false) && !part.ignored.unwrap_or(false);
        let error = part.state.and_then(|state| state.error);
        parts.refused |= error.is_some_and(|error| is_refusal(&error));
        match (part.kind.as_ref(), part.text, part.files) {
            ("text", Some(text), _) if spoken && !text.trim().is_empty() => {
                texts.push(text.trim().to_owned());
            }
            ("patch", _, Some(files)) => parts.touched.extend(files.into_iter().map(|path| FileChange {
                path: path.into_owned(),
                additions: None,
                deletions: None,
                status: "modified".to_owned(),
            })),
            _ => {}
        }
    }
    parts.text = texts.join("\n\n");
    Ok(parts)
}

/// The daemon's words for a tool that a person did not let run.
fn is_refusal(error: &str) -> bool {
    error.contains("user rejected permission") || error.contains("user dismissed this question")
}

/// Reads the newest messages of a session, and keeps what belongs to the turn
/// that `ours` began.
pub(super) fn history(body: &[u8], ours: &MessageId) -> Result<History, Undecodable> {
    let list: Vec<RawMessage<'_>> =
        serde_json::from_slice(body).map_err(undecodable("the list of messages"))?;
    let mut history = History { complete: list.is_empty(), listed: list.len(), ..History::default() };
    for (index, raw) in list.iter().enumerate() {
        let head = head(raw.info.get())?;
        history.newest = history.newest.max(Some(head.id.clone()));
        if head.id == ours.as_str() {
            history.arrived = true;
            history.complete = true;
        } else if head.parent.as_deref() == Some(ours.as_str()) {
            history.arrived = true;
            history.steps.push(message(raw)?);
        } else if index == 0 && head.id.as_str() < ours.as_str() {
            // Ids sort by time: the list reaches back before the turn.
            history.complete = true;
        }
    }
    history.steps.sort_by(|a, b| a.head.id.cmp(&b.head.id));
    Ok(history)
}

/// The model of the newest assistant message in a list.
pub(super) fn last_model(body: &[u8]) -> Option<ModelRef> {
    #[derive(Deserialize)]
    struct Item {
        info: Answering,
    }
    #[derive(Deserialize)]
    struct Answering {
        id: String,
        role: String,
        #[serde(rename = "providerID", default)]
        provider: Option<String>,
        #[serde(rename = "modelID", default)]
        model: Option<String>,
    }
    let list: Vec<Item> = serde_json::from_slice(body).ok()?;
    let newest = list
        .into_iter()
        .map(|it| it.info)
        .filter(|it| it.role == "assistant")
        .max_by(|a, b| a.id.cmp(&b.id))?;
    format!("{}/{}", newest.provider?, newest.model?).parse().ok()
}
