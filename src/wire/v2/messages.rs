//! A session's record: rows of several types, among them the proof of a turn's end.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::answers::{RawModel, unwrap};
use super::failure;
use super::number::Number;
use crate::ids::{MessageId, stamp};
use crate::model::ModelRef;
use crate::output::{CacheTokens, FileChange, Tokens};
use crate::wire::read::{shorten, undecodable};
use crate::wire::text::Text;
use crate::wire::{Cut, End, Ending, Head, History, Message, Outcome, Status, Undecodable};

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    time: Option<Time<'a>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish: Option<Text<'a>>,
    #[serde(default)]
    cost: Option<Number>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    /// These decide nothing: another shape of theirs hides no row.
    #[serde(borrow, default)]
    tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    retry: Option<&'a RawValue>,
    #[serde(borrow, default)]
    snapshot: Option<&'a RawValue>,
    #[serde(borrow, default)]
    outcome: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Time<'a> {
    #[serde(borrow, default)]
    completed: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Snapshot<'a> {
    #[serde(borrow, default)]
    files: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawTokens<'a> {
    input: Number,
    output: Number,
    reasoning: Number,
    #[serde(borrow)]
    cache: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawCache {
    read: Number,
    write: Number,
}

/// What is no count counts nothing.
pub(super) fn tokens(raw: Option<&RawValue>) -> Tokens {
    let read = |raw: &'_ RawValue| {
        let raw: RawTokens<'_> = serde_json::from_str(raw.get()).ok()?;
        let cache = raw.cache.and_then(|cache| serde_json::from_str::<RawCache>(cache.get()).ok());
        let cache = cache.unwrap_or_default();
        Some(Tokens {
            input: raw.input.whole(),
            output: raw.output.whole(),
            reasoning: raw.reasoning.whole(),
            cache: CacheTokens { read: cache.read.whole(), write: cache.write.whole() },
        })
    };
    raw.and_then(read).unwrap_or_default()
}

/// The provider failed, and is asked again. The first failure has the number 2: it is that of the try
/// which comes.
#[derive(Deserialize)]
pub(super) struct RawRetry<'a> {
    #[serde(default)]
    pub(super) attempt: Option<Number>,
    #[serde(default)]
    pub(super) at: Option<Number>,
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
}

impl RawRetry<'_> {
    pub(super) fn read(&self) -> Status {
        let failure = self.error.and_then(failure::read);
        Status::Retry {
            attempt: self.attempt.map_or(1, |next| next.whole().saturating_sub(1).max(1)),
            reason: failure.map_or_else(String::new, |failure| shorten(&failure.reason, 500)),
            next_at_ms: self.at.map(Number::whole),
        }
    }
}

fn retry(raw: &RawValue) -> Option<Status> {
    Some(serde_json::from_str::<RawRetry<'_>>(raw.get()).ok()?.read())
}

/// A piece of an assistant's row.
#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    /// Whether the provider ran the tool itself.
    #[serde(default)]
    executed: Option<bool>,
    #[serde(borrow, default)]
    state: Option<ToolEnd<'a>>,
}

#[derive(Deserialize)]
struct ToolEnd<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// What the pieces come to.
#[derive(Default)]
struct Parts {
    text: String,
    reasoned: bool,
    refused: bool,
    goes_on: bool,
    size: usize,
}

pub(super) fn ending(finish: &str) -> Option<Ending> {
    match finish {
        "" => None,
        "tool-calls" => Some(Ending::Tools),
        _ => Some(Ending::Final),
    }
}

/// Where the next page begins; `None` after the last, after an empty one, and after one
/// that reaches back to the message `ours`, or before it: ids sort by time.
pub(super) fn before(page: &[u8], ours: &MessageId) -> Option<String> {
    #[derive(Deserialize)]
    struct Page<'a> {
        #[serde(borrow)]
        data: Vec<&'a RawValue>,
        #[serde(default)]
        cursor: Option<Cursor>,
    }
    #[derive(Deserialize)]
    struct Cursor {
        #[serde(default)]
        next: Option<String>,
    }
    #[derive(Deserialize, Default)]
    struct Row<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    let page: Page<'_> = serde_json::from_slice(page).ok()?;
    let rows = page.data.iter().map(|raw| serde_json::from_str::<Row<'_>>(raw.get()).unwrap_or_default());
    let ids: Vec<Cow<'_, str>> = rows.map(|row| row.id).collect();
    let oldest = ids.last()?;
    if stamp(oldest).is_some() && **oldest < *ours.as_str() || ids.iter().any(|id| *id == ours.as_str()) {
        return None;
    }
    page.cursor?.next
}

/// Reads pages, newest first, and keeps what belongs to the turn that `ours` began.
/// A row that cannot be read hides no other.
pub(super) fn history(pages: &[Bytes], ours: &MessageId) -> Result<History, Undecodable> {
    let mut history = History { end: End::Open, ..History::default() };
    let mut rows: Vec<(Row<'_>, &RawValue)> = Vec::new();
    for page in pages {
        for raw in unwrap::<Vec<&RawValue>>(page, "the list of messages")? {
            let Ok(row) = serde_json::from_str::<Row<'_>>(raw.get()) else {
                history.unreadable += 1;
                continue;
            };
            if stamp(&row.id).is_some() {
                history.newest = history.newest.max(Some(row.id.clone().into_owned()));
            }
            rows.push((row, raw));
        }
    }
    rows.reverse();
    let found = rows.iter().position(|(row, _)| row.id == ours.as_str());
    if found.is_none() {
        let failed = rows.last().map(|(row, _)| row).filter(|row| is_failure_since(row, ours));
        history.failed_before = failed.is_some();
        history.reason = failed.and_then(|row| row.error).and_then(failure::read);
    }
    if let Some(found) = found {
        history.arrived = true;
        history.prompts.push(ours.to_string());
        let sources = own(&rows[found + 1..], ours, &mut history);
        if let Some(at) = history.last_at() {
            history.steps[at].raw = whole(sources[at]);
        }
    }
    Ok(history)
}

/// Whether it says that the session has failed since `ours` was made: ids sort by time.
fn is_failure_since(row: &Row<'_>, ours: &MessageId) -> bool {
    let failed = !matches!(row.outcome.as_deref(), Some("succeeded" | "interrupted"));
    row.kind == "idle" && failed && stamp(&row.id).is_some() && *row.id > *ours.as_str()
}

/// Collects the turn: all steps until the session goes idle. What somebody sends
/// meanwhile belongs to it, unless our last word had been said. Returns the rows of the
/// steps.
fn own<'a>(rows: &[(Row<'a>, &'a RawValue)], ours: &MessageId, history: &mut History) -> Vec<&'a RawValue> {
    let mut sources = Vec::new();
    // After a summary, the daemon tells the agent to go on.
    let (mut summed_up, mut added) = (false, false);
    for (index, (row, raw)) in rows.iter().enumerate() {
        match row.kind.as_ref() {
            "assistant" => match message(row, ours) {
                Ok(step) => {
                    // A message that grows is not retried any more.
                    let waits = !step.head.completed && step.size == 0;
                    history.retry = row.retry.filter(|_| waits).and_then(retry);
                    history.steps.push(Message { added, ..step });
                    sources.push(*raw);
                }
                Err(_) => history.unreadable += 1,
            },
            "synthetic" => added |= summed_up,
            "compaction" => {
                summed_up = true;
                history.steps.push(summary(row, ours));
                sources.push(*raw);
            }
            "idle" => {
                history.end = End::Told(match row.outcome.as_deref() {
                    Some("succeeded") => Outcome::Succeeded,
                    Some("interrupted") => Outcome::Interrupted,
                    _ => Outcome::Failed,
                });
                history.reason = row.error.and_then(failure::read);
                history.followed = rows[index + 1..].iter().any(|(row, _)| row.kind == "user");
                return sources;
            }
            "user" if history.last().is_some_and(said_all) => {
                history.end = End::Told(Outcome::Succeeded);
                history.followed = true;
                return sources;
            }
            _ => {}
        }
    }
    sources
}

/// A row as the daemon has it, in two.
fn whole(raw: &RawValue) -> Value {
    let mut info: Map<String, Value> = serde_json::from_str(raw.get()).unwrap_or_default();
    let content = info.remove("content").unwrap_or_else(|| json!([]));
    json!({ "info": info, "parts": content })
}

fn said_all(step: &Message) -> bool {
    step.head.completed && step.head.failure.is_none() && step.head.ending == Some(Ending::Final)
}

fn head(row: &Row<'_>, ours: &MessageId) -> Head {
    Head {
        id: row.id.clone().into_owned(),
        parent: Some(ours.to_string()),
        completed: row.time.as_ref().is_some_and(|time| time.completed.is_some()),
        ending: row.finish.as_deref().and_then(ending),
        failure: row.error.and_then(failure::read),
        summary: false,
        cost: row.cost.unwrap_or_default().float(),
        tokens: tokens(row.tokens),
    }
}

/// What a summary of the session cost; whether it failed is not the turn's end.
fn summary(row: &Row<'_>, ours: &MessageId) -> Message {
    Message {
        head: Head { summary: true, failure: None, ..head(row, ours) },
        text: String::new(),
        cut: None,
        reasoned: false,
        added: false,
        touched: Vec::new(),
        refused: false,
        size: 0,
        raw: Value::Null,
    }
}

/// A step, without what the daemon has of it.
fn message(row: &Row<'_>, ours: &MessageId) -> Result<Message, Undecodable> {
    let mut head = head(row, ours);
    let Parts { text, reasoned, refused, goes_on, size } =
        row.content.map(parts).transpose()?.unwrap_or_default();
    if goes_on && head.ending == Some(Ending::Final) {
        head.ending = Some(Ending::Tools);
    }
    let snapshot = row.snapshot.and_then(|it| serde_json::from_str::<Snapshot<'_>>(it.get()).ok());
    let files = snapshot.and_then(|snapshot| snapshot.files).unwrap_or_default();
    let touched = files.into_iter().map(|path| FileChange {
        path: path.into_owned(),
        additions: None,
        deletions: None,
        status: "modified".to_owned(),
    });
    let touched = touched.collect();
    let cut = row.finish.as_deref().and_then(Cut::read);
    Ok(Message { head, text, cut, reasoned, added: false, touched, refused, size, raw: Value::Null })
}

/// Reads the pieces that can be read: one of an unknown shape hides no other.
fn parts(content: &RawValue) -> Result<Parts, Undecodable> {
    let list: Vec<&RawValue> =
        serde_json::from_str(content.get()).map_err(undecodable("a message's content"))?;
    let (mut texts, mut all) = (Vec::new(), Parts::default());
    for raw in list {
        let Ok(part) = serde_json::from_str::<Part<'_>>(raw.get()) else { continue };
        all.size += raw.get().len();
        all.reasoned |= part.kind == "reasoning";
        all.goes_on |= part.kind == "tool" && part.executed != Some(true);
        let error = part.state.and_then(|state| state.error);
        all.refused |= error.is_some_and(failure::is_refusal);
        match (part.kind.as_ref(), part.text) {
            ("text", Some(text)) if !text.trim().is_empty() => texts.push(text.trim().to_owned()),
            _ => {}
        }
    }
    all.text = texts.join("\n\n");
    Ok(all)
}

/// The model of the newest assistant's row in a page, newest first.
pub(super) fn last_model(page: &[u8]) -> Option<ModelRef> {
    #[derive(Deserialize)]
    struct Answering {
        #[serde(rename = "type")]
        kind: String,
        model: RawModel,
    }
    let list: Vec<&RawValue> = unwrap(page, "the list of messages").ok()?;
    let mut rows = list.into_iter().filter_map(|raw| serde_json::from_str::<Answering>(raw.get()).ok());
    rows.find(|row| row.kind == "assistant")?.model.read()
}
