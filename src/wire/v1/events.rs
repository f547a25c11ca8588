//! Events, read in two steps: which session, then what.
//!
//! The first step borrows from the bytes and walks an event once; most events
//! are nobody's, and stop there. The second reads the few fields that matter.

use std::borrow::Cow;

use connector_contract::TodoItem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answers::{RawPermission, RawQuestions, RawStatus};
use super::messages;
use crate::wire::read::{call_id, failed_command, shorten, undecodable};
use crate::wire::text::Text;
use crate::wire::{Signal, Status, Told, ToolSignal, ToolState, Undecodable};

const WHAT: &str = "an event";

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    properties: Option<Properties<'a>>,
}

/// The union of the fields that matter, over all event types.
#[derive(Deserialize)]
struct Properties<'a> {
    #[serde(borrow, rename = "sessionID", default)]
    session: Option<Text<'a>>,
    #[serde(borrow, rename = "messageID", default)]
    message: Option<Text<'a>>,
    #[serde(borrow, rename = "partID", default)]
    part_id: Option<Text<'a>>,
    #[serde(borrow, rename = "requestID", default)]
    request: Option<Text<'a>>,
    #[serde(borrow, default)]
    field: Option<Text<'a>>,
    #[serde(borrow, default)]
    delta: Option<Text<'a>>,
    #[serde(borrow, default)]
    info: Option<&'a RawValue>,
    #[serde(borrow, default)]
    part: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    todos: Option<&'a RawValue>,
}

impl<'a> Properties<'a> {
    /// Releases before 1.4 name the session in the message, the part or the session alone that an
    /// event is about.
    fn session_of_what_it_tells(&self) -> Option<Text<'a>> {
        #[derive(Deserialize)]
        struct Whose<'a> {
            #[serde(borrow, rename = "sessionID", default)]
            session: Option<Text<'a>>,
            #[serde(borrow, default)]
            id: Option<Text<'a>>,
        }
        let told = self.part.or(self.info)?;
        let whose: Whose<'a> = serde_json::from_str(told.get()).ok()?;
        whose.session.or_else(|| whose.id.filter(|id| id.starts_with("ses_")))
    }
}

/// An event whose session is known.
struct RawEvent<'a> {
    kind: Cow<'a, str>,
    properties: Properties<'a>,
    data: &'a str,
}

/// Reads an event if its session is wanted.
pub(super) fn read(data: &[u8], wanted: &dyn Fn(&str, bool) -> bool) -> Result<Option<Told>, Undecodable> {
    // Once here, instead of once for each string and each raw value.
    let data =
        std::str::from_utf8(data).map_err(|_| Undecodable { what: WHAT, why: "not UTF-8".to_owned() })?;
    let envelope: Envelope<'_> = serde_json::from_str(data).map_err(undecodable(WHAT))?;
    let Some(properties) = envelope.properties.filter(|_| matters(&envelope.kind)) else { return Ok(None) };
    let Some(session) = properties.session.clone().or_else(|| properties.session_of_what_it_tells()) else {
        return Ok(None);
    };
    if !wanted(&session, envelope.kind == "session.created") {
        return Ok(None);
    }
    let signal = RawEvent { kind: envelope.kind, properties, data }.read()?;
    Ok(signal.map(|signal| Told { session: session.into_owned(), signal }))
}

fn matters(kind: &str) -> bool {
    ["session.", "message.", "permission.", "question.", "todo."]
        .iter()
        .any(|prefix| kind.starts_with(prefix))
        && !matches!(kind, "session.updated" | "session.diff")
}

impl RawEvent<'_> {
    /// Reads what it says; `None` if that is nothing a turn needs.
    fn read(&self) -> Result<Option<Signal>, Undecodable> {
        let properties = &self.properties;
        Ok(match self.kind.as_ref() {
            "message.part.delta" => delta(properties),
            "message.part.updated" => properties.part.map(|part| part_updated(part.get())).transpose()?,
            "message.updated" => {
                properties.info.map(|info| messages::head(info.get())).transpose()?.map(Signal::Head)
            }
            "message.part.removed" | "message.removed" => Some(Signal::Activity),
            "session.status" => properties.status.map(|status| read_status(status.get())).transpose()?,
            "session.idle" => Some(Signal::Status(Status::Idle)),
            "session.error" => {
                properties.error.and_then(|error| messages::failure(error.get())).map(Signal::Failed)
            }
            "session.created" => properties.info.map(|info| created(info.get())).transpose()?,
            "todo.updated" => properties.todos.map(|todos| todo(todos.get())).transpose()?,
            "permission.asked" => Some(Signal::PermissionAsked(self.ask::<RawPermission>()?.into())),
            "question.asked" => Some(Signal::QuestionAsked(self.ask::<RawQuestions>()?.into())),
            "permission.replied" | "question.replied" | "question.rejected" => {
                properties.request.as_deref().map(|id| Signal::AskClosed(id.to_owned()))
            }
            _ => None,
        })
    }

    /// An ask is the event's properties, whole.
    fn ask<Raw: serde::de::DeserializeOwned>(&self) -> Result<Raw, Undecodable> {
        #[derive(Deserialize)]
        struct Ask<T> {
            properties: T,
        }
        let ask: Ask<Raw> = serde_json::from_str(self.data).map_err(undecodable(WHAT))?;
        Ok(ask.properties)
    }
}

fn delta(properties: &Properties<'_>) -> Option<Signal> {
    if properties.field.as_deref() != Some("text") {
        return Some(Signal::Activity);
    }
    Some(Signal::Delta {
        message: properties.message.as_deref()?.to_owned(),
        part: properties.part_id.as_deref()?.to_owned(),
        text: properties.delta.as_deref()?.to_owned(),
    })
}

fn read_status(status: &str) -> Result<Signal, Undecodable> {
    let raw: RawStatus<'_> = serde_json::from_str(status).map_err(undecodable(WHAT))?;
    Ok(Signal::Status(raw.read()))
}

fn created(info: &str) -> Result<Signal, Undecodable> {
    #[derive(Deserialize)]
    struct Info {
        id: String,
        #[serde(rename = "parentID", default)]
        parent: Option<String>,
        #[serde(default)]
        title: String,
    }
    let info: Info = serde_json::from_str(info).map_err(undecodable(WHAT))?;
    Ok(Signal::Created { session: info.id, parent: info.parent, title: shorten(&info.title, 200) })
}

fn todo(todos: &str) -> Result<Signal, Undecodable> {
    let mut items: Vec<TodoItem> = serde_json::from_str(todos).map_err(undecodable(WHAT))?;
    items.truncate(50);
    for item in &mut items {
        item.content = shorten(&item.content, 300);
    }
    Ok(Signal::Todo(items))
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "messageID")]
    message: Cow<'a, str>,
    #[serde(borrow, rename = "callID", default)]
    call: Option<Text<'a>>,
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    tool: Option<Text<'a>>,
    #[serde(borrow, default)]
    state: Option<State<'a>>,
}

#[derive(Deserialize)]
struct State<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    title: Option<Text<'a>>,
    #[serde(borrow, default)]
    error: Option<Text<'a>>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    /// These decide nothing: another shape of theirs hides no tool.
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
}

fn part_updated(part: &str) -> Result<Signal, Undecodable> {
    let part: Part<'_> = serde_json::from_str(part).map_err(undecodable(WHAT))?;
    Ok(match (part.kind.as_ref(), part.text, part.tool, part.state) {
        ("text", Some(text), ..) => Signal::Text {
            message: part.message.into_owned(),
            part: part.id.into_owned(),
            text: text.into_owned(),
        },
        ("tool", _, Some(tool), Some(state)) => Signal::Tool(ToolSignal {
            call: match part.call {
                Some(call) => call_id(&part.message, &call),
                None => part.id.into_owned(),
            },
            title: Some(shorten(&title(&state, &tool), 300)),
            tool: Some(tool.into_owned()),
            state: tool_state(&state),
        }),
        _ => Signal::Activity,
    })
}

fn tool_state(state: &State<'_>) -> ToolState {
    match state.status.as_ref() {
        "pending" => ToolState::Pending,
        "completed" => failed(state).map_or(ToolState::Completed, ToolState::Failed),
        "error" => ToolState::Failed(shorten(state.error.as_deref().unwrap_or("no reason given"), 500)),
        _ => ToolState::Running,
    }
}

/// Why a command failed.
fn failed(state: &State<'_>) -> Option<String> {
    #[derive(Deserialize)]
    struct Exit {
        #[serde(default)]
        exit: Option<i64>,
    }
    let exit = serde_json::from_str::<Exit>(state.metadata?.get()).ok()?.exit;
    let output = state.output.and_then(|output| serde_json::from_str::<Text<'_>>(output.get()).ok());
    failed_command(exit, output.as_deref().unwrap_or_default())
}

/// The tool's own title, which comes late, or what it was called with.
fn title(state: &State<'_>, tool: &str) -> String {
    #[derive(Deserialize)]
    struct Input<'a> {
        #[serde(borrow, default)]
        command: Option<Text<'a>>,
        #[serde(borrow, rename = "filePath", default)]
        file: Option<Text<'a>>,
        #[serde(borrow, default)]
        pattern: Option<Text<'a>>,
        #[serde(borrow, default)]
        description: Option<Text<'a>>,
        #[serde(borrow, default)]
        url: Option<Text<'a>>,
    }
    if let Some(title) = state.title.as_deref().filter(|title| !title.is_empty()) {
        return title.to_owned();
    }
    let input = state.input.and_then(|input| serde_json::from_str::<Input<'_>>(input.get()).ok());
    let known = input.and_then(|it| it.command.or(it.file).or(it.pattern).or(it.description).or(it.url));
    known.map_or_else(|| tool.to_owned(), Text::into_owned)
}
