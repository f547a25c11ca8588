//! Events: `{type, data}`, most of them about one session.
//!
//! They tell what happens and not for which prompt: a session's steps belong to
//! what it began with last. A tool's name, its input and its end come in events of
//! their own, joined by the call's id.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::messages::{RawRetry, ending, tokens};
use super::number::Number;
use super::{asks, failure, names};
use crate::wire::read::{call_id, failed_command, shorten, undecodable};
use crate::wire::text::{Text, words};
use crate::wire::{Head, Signal, Status, Told, ToolSignal, ToolState, Undecodable};

const WHAT: &str = "an event";

/// What the server says in place of a command's output.
const OWN: [&str; 1] = ["(no output)"];

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// The union of the fields that matter, over all types. Some types have an object under a name
/// that is words in others.
#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow, rename = "sessionID", default)]
    session: Option<Text<'a>>,
    #[serde(borrow, rename = "parentID", default)]
    parent: Option<Text<'a>>,
    #[serde(borrow, rename = "assistantMessageID", default)]
    message: Option<Text<'a>>,
    #[serde(borrow, rename = "inboxID", default)]
    inbox: Option<Text<'a>>,
    #[serde(borrow, rename = "requestID", default)]
    request: Option<Text<'a>>,
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, rename = "callID", default)]
    call: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "words")]
    title: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "words")]
    name: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "words")]
    text: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "words")]
    delta: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "words")]
    finish: Option<Text<'a>>,
    #[serde(default)]
    ordinal: Option<Number>,
    #[serde(default)]
    attempt: Option<Number>,
    #[serde(default)]
    at: Option<Number>,
    #[serde(default)]
    cost: Option<Number>,
    #[serde(borrow, default)]
    tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reason: Option<Text<'a>>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    form: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
}

/// Reads an event if its session is wanted.
pub(super) fn read(data: &[u8], wanted: &dyn Fn(&str, bool) -> bool) -> Result<Option<Told>, Undecodable> {
    let text =
        std::str::from_utf8(data).map_err(|_| Undecodable { what: WHAT, why: "not UTF-8".to_owned() })?;
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(undecodable(WHAT))?;
    let kind = envelope.kind.as_ref();
    let Some(raw) = envelope.data.filter(|_| matters(kind)) else { return Ok(None) };
    let data: Data<'_> = serde_json::from_str(raw.get()).map_err(undecodable(WHAT))?;
    let session = data.session.as_deref().map(str::to_owned);
    let Some(session) = session.or_else(|| asks::session_of_form(data.form?)) else { return Ok(None) };
    if !wanted(&session, kind == "session.created") {
        return Ok(None);
    }
    let signal = match kind {
        "permission.asked" => Some(Signal::PermissionAsked(asks::permission(raw)?)),
        "form.created" => data.form.map(asks::form).transpose()?.map(Signal::QuestionAsked),
        _ => data.read(kind, &session),
    };
    Ok(signal.map(|signal| Told { session, signal }))
}

fn matters(kind: &str) -> bool {
    ["session.", "permission.", "form."].iter().any(|prefix| kind.starts_with(prefix))
        && !matches!(kind, "session.usage.updated" | "session.updated")
}

impl Data<'_> {
    /// `None` if it is nothing that a turn needs.
    fn read(&self, kind: &str, session: &str) -> Option<Signal> {
        let kind = kind.strip_prefix("session.").unwrap_or(kind);
        Some(match kind {
            "created" => Signal::Created {
                session: session.to_owned(),
                parent: self.parent.as_deref().map(str::to_owned),
                title: shorten(self.title.as_deref().unwrap_or_default(), 200),
            },
            "inbox.delivered" => Signal::Taken(self.inbox.as_deref()?.to_owned()),
            "execution.started" => Signal::Status(Status::Busy),
            "execution.interrupted" if self.reason.as_deref() == Some("shutdown") => Signal::Shut,
            "execution.succeeded" | "execution.interrupted" => Signal::Ended(None),
            "execution.failed" => Signal::Ended(self.error.and_then(failure::read)),
            "step.started" | "step.ended" | "step.failed" => Signal::Step(self.head(kind)?),
            "retry.scheduled" => Signal::Status(self.retry().read()),
            "text.delta" => Signal::Delta {
                message: self.message.as_deref()?.to_owned(),
                part: self.part()?,
                text: self.delta.as_deref()?.to_owned(),
            },
            "text.ended" => Signal::Text {
                message: self.message.as_deref()?.to_owned(),
                part: self.part()?,
                text: self.text.as_deref()?.to_owned(),
            },
            "tool.input.started" => self.tool(ToolState::Pending)?,
            "tool.called" => self.tool(ToolState::Running)?,
            "tool.success" => self.tool(self.failed().map_or(ToolState::Completed, ToolState::Failed))?,
            "tool.failed" => {
                let reason =
                    self.error.and_then(failure::of_tool).unwrap_or_else(|| "no reason given".to_owned());
                self.tool(ToolState::Failed(shorten(&reason, 500)))?
            }
            "permission.replied" => Signal::AskClosed(self.request.as_deref()?.to_owned()),
            "form.replied" | "form.cancelled" => Signal::AskClosed(self.id.as_deref()?.to_owned()),
            _ if ["reasoning.", "tool.", "text.", "step.", "compaction."]
                .iter()
                .any(|it| kind.starts_with(it)) =>
            {
                Signal::Activity
            }
            _ => return None,
        })
    }

    fn head(&self, kind: &str) -> Option<Head> {
        Some(Head {
            id: self.message.as_deref()?.to_owned(),
            parent: None,
            completed: kind != "step.started",
            ending: self.finish.as_deref().and_then(ending),
            failure: self.error.and_then(failure::read),
            summary: false,
            cost: self.cost.unwrap_or_default().float(),
            tokens: tokens(self.tokens),
        })
    }

    /// Why a command failed.
    fn failed(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Exit {
            #[serde(default)]
            exit: Option<i64>,
        }
        #[derive(Deserialize)]
        struct Piece<'a> {
            #[serde(borrow, default)]
            text: Option<Text<'a>>,
        }
        let exit = serde_json::from_str::<Exit>(self.metadata?.get()).ok()?.exit;
        let pieces = self.content.and_then(|it| serde_json::from_str::<Vec<Piece<'_>>>(it.get()).ok());
        let said: Vec<&str> = pieces
            .iter()
            .flatten()
            .filter_map(|piece| piece.text.as_deref())
            .filter(|it| !OWN.contains(it))
            .collect();
        failed_command(exit, &said.join("\n"))
    }

    fn retry(&self) -> RawRetry<'_> {
        RawRetry { attempt: self.attempt, at: self.at, error: self.error }
    }

    /// Texts are numbered within their message.
    fn part(&self) -> Option<String> {
        Some(format!("{}/{}", self.message.as_deref()?, self.ordinal.unwrap_or_default().whole()))
    }

    /// A provider may use a call's id again in another message.
    fn tool(&self, state: ToolState) -> Option<Signal> {
        let message = self.message.as_deref().unwrap_or_default();
        let call = call_id(message, self.id.as_deref().or(self.call.as_deref())?);
        let title = self.input.and_then(title);
        let tool = self.name.as_deref().map(|name| names::ours(name).to_owned());
        Some(Signal::Tool(ToolSignal { call, tool, title, state }))
    }
}

/// What a tool is called with, as far as one line tells.
fn title(input: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Input<'a> {
        #[serde(borrow, default)]
        command: Option<Text<'a>>,
        #[serde(borrow, alias = "filePath", default)]
        path: Option<Text<'a>>,
        #[serde(borrow, default)]
        pattern: Option<Text<'a>>,
        #[serde(borrow, default)]
        description: Option<Text<'a>>,
        #[serde(borrow, default)]
        url: Option<Text<'a>>,
    }
    let it: Input<'_> = serde_json::from_str(input.get()).ok()?;
    let known = it.command.or(it.path).or(it.pattern).or(it.description).or(it.url)?;
    Some(shorten(&known, 300))
}
