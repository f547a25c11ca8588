//! Messages: the daemon's record of a turn, and the proof of its end.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::ids::{MessageId, stamp};
use crate::model::ModelRef;
use crate::output::{CacheTokens, FileChange, Tokens};
use crate::wire::read::{undecodable, whole};
use crate::wire::text::Text;
use crate::wire::words;
use crate::wire::{Cut, Ending, Failure, FailureKind, Head, History, Message, Undecodable};

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
    /// An object in a user's message, which is not meant here.
    #[serde(borrow, default)]
    summary: Option<&'a RawValue>,
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
    /// A configuration file that is not valid.
    #[serde(borrow, default)]
    path: Option<Text<'a>>,
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
    #[serde(borrow, default)]
    metadata: Option<PartNotes<'a>>,
}

#[derive(Deserialize)]
struct PartNotes<'a> {
    #[serde(borrow, rename = "providerExecuted", default)]
    provider_executed: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ToolEnd<'a> {
    #[serde(borrow, default)]
    error: Option<Text<'a>>,
}

/// What a message's parts come to.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the message")]
struct Parts {
    text: String,
    touched: Vec<FileChange>,
    refused: bool,
    size: usize,
    /// Whether it thinks.
    reasoned: bool,
    /// Whether it has a tool for the daemon to run: it goes on after that,
    /// whatever the model said.
    goes_on: bool,
    /// Whether a message in the user's name is the daemon's own.
    added: bool,
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
        summary: info.summary.is_some_and(|summary| summary.get() == "true"),
        cost: info.cost.unwrap_or_default(),
        tokens: Tokens {
            input: whole(tokens.input),
            output: whole(tokens.output),
            reasoning: whole(tokens.reasoning),
            cache: CacheTokens { read: whole(tokens.cache.read), write: whole(tokens.cache.write) },
        },
    })
}

fn cut(info: &str) -> Option<Cut> {
    #[derive(Deserialize)]
    struct Finished<'a> {
        #[serde(borrow, default)]
        finish: Option<Text<'a>>,
    }
    Cut::read(&serde_json::from_str::<Finished<'_>>(info).ok()?.finish?)
}

fn ending(finish: &str) -> Option<Ending> {
    match finish {
        "" => None,
        "tool-calls" => Some(Ending::Tools),
        _ => Some(Ending::Final),
    }
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
    let status = error.data.as_ref().and_then(|data| data.status);
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
    let file = error.data.as_ref().and_then(|data| data.path.as_deref());
    let reason = words::configuration(&name, message, file)
        .unwrap_or_else(|| words::of(&name, message, status.map(whole)));
    Some(Failure { kind, reason })
}

/// Reads `{info, parts}`.
pub(super) fn message(raw: &RawMessage<'_>) -> Result<Message, Undecodable> {
    let mut head = head(raw.info.get())?;
    let whole = |text: &str| serde_json::from_str::<Value>(text).map_err(undecodable("a message"));
    let Parts { text, touched, refused, size, reasoned, goes_on, .. } = parts(raw.parts.get())?;
    if goes_on && head.ending == Some(Ending::Final) {
        head.ending = Some(Ending::Tools);
    }
    Ok(Message {
        head,
        text,
        cut: cut(raw.info.get()),
        reasoned,
        added: false,
        touched,
        refused,
        size,
        raw: json!({ "info": whole(raw.info.get())?, "parts": whole(raw.parts.get())? }),
    })
}

/// Reads the parts that can be read: one of an unknown shape hides no other.
fn parts(parts: &str) -> Result<Parts, Undecodable> {
    let list: Vec<&RawValue> = serde_json::from_str(parts).map_err(undecodable("a message's parts"))?;
    let (mut texts, mut all) = (Vec::new(), Parts::default());
    let mut added = !list.is_empty();
    for raw in list {
        let Ok(part) = serde_json::from_str::<Part<'_>>(raw.get()) else { continue };
        let synthetic = part.synthetic.unwrap_or(false);
        added &= synthetic || part.kind == "compaction";
        if matches!(part.kind.as_ref(), "text" | "reasoning" | "tool") {
            all.size += raw.get().len();
        }
        all.reasoned |= part.kind == "reasoning";
        let by_provider = part.metadata.is_some_and(|it| it.provider_executed.is_some_and(is_true));
        all.goes_on |= part.kind == "tool" && !by_provider;
        let error = part.state.and_then(|state| state.error);
        all.refused |= error.is_some_and(|error| is_refusal(&error));
        let spoken = !synthetic && !part.ignored.unwrap_or(false);
        match (part.kind.as_ref(), part.text, part.files) {
            ("text", Some(text), _) if spoken && !text.trim().is_empty() => {
                texts.push(text.trim().to_owned());
            }
            ("patch", _, Some(files)) => all.touched.extend(files.into_iter().map(|path| FileChange {
                path: path.into_owned(),
                additions: None,
                deletions: None,
                status: "modified".to_owned(),
            })),
            _ => {}
        }
    }
    all.text = texts.join("\n\n");
    all.added = added;
    Ok(all)
}

fn is_true(value: &RawValue) -> bool {
    value.get() == "true"
}

/// The daemon's words for a tool that a person did not let run.
fn is_refusal(error: &str) -> bool {
    error.contains("user rejected permission") || error.contains("user dismissed this question")
}

/// Whether a page of at most `limit` reaches back to the message `ours`: it has it, or
/// all that there are, or begins before it, since ids sort by time. One that cannot be
/// read is not followed by a longer one.
pub(super) fn reaches(body: &[u8], ours: &MessageId, limit: usize) -> bool {
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(borrow)]
        info: Id<'a>,
    }
    #[derive(Deserialize)]
    struct Id<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    let Ok(list) = serde_json::from_slice::<Vec<&RawValue>>(body) else { return true };
    let ids = list.iter().map(|raw| serde_json::from_str::<Item<'_>>(raw.get()).ok().map(|it| it.info.id));
    list.len() < limit
        || ids
            .enumerate()
            .any(|(index, id)| id.is_some_and(|id| id == ours.as_str() || index == 0 && *id < *ours.as_str()))
}

/// Reads the newest messages of a session, and keeps what belongs to the turn
/// that `ours` began. A message that cannot be read hides no other.
pub(super) fn history(body: &[u8], ours: &MessageId) -> Result<History, Undecodable> {
    let list: Vec<&RawValue> = serde_json::from_slice(body).map_err(undecodable("the list of messages"))?;
    let mut history = History::default();
    let mut known: Vec<(Head, RawMessage<'_>)> = Vec::with_capacity(list.len());
    for raw in list {
        let raw = serde_json::from_str::<RawMessage<'_>>(raw.get()).ok();
        let Some((head, raw)) = raw.and_then(|raw| Some((head(raw.info.get()).ok()?, raw))) else {
            history.unreadable += 1;
            continue;
        };
        if stamp(&head.id).is_some() {
            history.newest = history.newest.max(Some(head.id.clone()));
        }
        known.push((head, raw));
    }
    known.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
    own(&known, ours, &mut history);
    Ok(history)
}

/// Collects the turn: what answers our message, or one that the daemon added
/// after it in the user's name. Turns of a session come one after another, so
/// another message of a user's ends ours.
fn own(known: &[(Head, RawMessage<'_>)], ours: &MessageId, history: &mut History) {
    let mut prompt = None;
    let mut added = false;
    // The newest prompt in the user's name is the daemon's own.
    let mut goes_on = false;
    for (head, raw) in known {
        if head.parent.is_some() {
            let answers = head.parent.as_deref();
            if answers == Some(ours.as_str()) || history.prompts.iter().any(|it| Some(it.as_str()) == answers)
            {
                history.arrived = true;
                history.unanswered = false;
                match message(raw) {
                    Ok(step) => history.steps.push(Message { added: goes_on, ..step }),
                    Err(_) => history.unreadable += 1,
                }
            }
        } else if head.id == ours.as_str() {
            history.arrived = true;
            history.unanswered = true;
            history.prompts.push(head.id.clone());
            prompt = parts(raw.parts.get()).ok();
        } else if !history.prompts.is_empty() {
            let parts = parts(raw.parts.get()).unwrap_or_default();
            // When the prompt itself does not fit any more, it is said again.
            let again = added && prompt.as_ref().is_some_and(|prompt| prompt.text == parts.text);
            if !parts.added && !again {
                return;
            }
            added |= parts.added;
            goes_on = parts.added;
            history.unanswered = true;
            history.prompts.push(head.id.clone());
        }
    }
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
    let list: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
    let newest = list
        .into_iter()
        .filter_map(|raw| serde_json::from_str::<Item>(raw.get()).ok())
        .map(|it| it.info)
        .filter(|it| it.role == "assistant")
        .max_by(|a, b| a.id.cmp(&b.id))?;
    format!("{}/{}", newest.provider?, newest.model?).parse().ok()
}
