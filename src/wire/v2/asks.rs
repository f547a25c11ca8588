//! What waits for an answer: permission requests, and forms that ask questions.
//!
//! A form of questions has the fields `q0`, `q1`, …, each a choice or a text. A
//! form of any other making cannot be put to a person and is not read.

use connector_contract::ask::{PermissionAsk, Question, QuestionAsk, QuestionOption, ToolCall};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::answers::unwrap;
use super::names;
use crate::wire::read::undecodable;
use crate::wire::{Pending, Undecodable, UnparseableAsk};

#[derive(Deserialize)]
struct RawPermission {
    id: String,
    #[serde(rename = "sessionID")]
    session: String,
    action: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    metadata: Value,
    #[serde(default)]
    source: Option<Value>,
}

#[derive(Deserialize)]
struct RawForm {
    id: String,
    #[serde(rename = "sessionID")]
    session: String,
    fields: Vec<RawField>,
}

#[derive(Deserialize)]
struct RawField {
    key: String,
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    options: Vec<RawOption>,
    /// Shown only when another field has some value.
    #[serde(default)]
    when: Option<Value>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    String,
    Multiselect,
}

#[derive(Deserialize)]
struct RawOption {
    value: String,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    description: Option<String>,
}

/// Whose a form is, in the event that tells of it.
pub(super) fn session_of_form(form: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Whose {
        #[serde(rename = "sessionID")]
        session: String,
    }
    Some(serde_json::from_str::<Whose>(form.get()).ok()?.session)
}

pub(super) fn permission(ask: &RawValue) -> Result<PermissionAsk, Undecodable> {
    let raw: RawPermission = serde_json::from_str(ask.get()).map_err(undecodable("a permission request"))?;
    Ok(PermissionAsk {
        id: raw.id,
        session_id: raw.session,
        permission: names::ours(&raw.action).to_owned(),
        patterns: raw.resources,
        metadata: raw.metadata,
        call: raw.source.as_ref().and_then(call).map(Box::new),
    })
}

/// The call that asks; its id has two names.
fn call(source: &Value) -> Option<ToolCall> {
    let text = |key: &str| source.get(key).and_then(Value::as_str).map(str::to_owned);
    let call_id = text("id").or_else(|| text("callID"))?;
    Some(ToolCall { message_id: text("messageID")?, call_id, input: Value::Null })
}

/// What the tool of `call` was called with; `None` while the record does not have it.
pub(super) fn tool_input(body: &[u8], call: &str) -> Result<Option<Value>, Undecodable> {
    #[derive(Deserialize)]
    struct Message {
        #[serde(default)]
        content: Vec<Value>,
    }
    let message: Message = unwrap(body, "a message")?;
    let part = message.content.iter().find(|part| part["type"] == "tool" && part["id"] == call);
    // Before it runs, its input is the text that has come so far.
    Ok(part.map(|part| part["state"]["input"].clone()).filter(Value::is_object))
}

pub(super) fn form(form: &RawValue) -> Result<QuestionAsk, Undecodable> {
    const WHAT: &str = "a form";
    let raw: RawForm = serde_json::from_str(form.get()).map_err(undecodable(WHAT))?;
    let odd = |why: &str| Undecodable { what: WHAT, why: why.to_owned() };
    if raw.fields.is_empty() {
        return Err(odd("it has no fields"));
    }
    let mut questions = Vec::with_capacity(raw.fields.len());
    for (index, field) in raw.fields.into_iter().enumerate() {
        if field.key != format!("q{index}") || field.when.is_some() {
            return Err(odd("its fields are not those of questions"));
        }
        questions.push(question(field));
    }
    Ok(QuestionAsk { id: raw.id, session_id: raw.session, questions })
}

fn question(field: RawField) -> Question {
    let title = field.title.unwrap_or_default();
    let (question, header) = match field.description {
        Some(description) if !description.trim().is_empty() => (description, title),
        _ => (title, String::new()),
    };
    Question {
        question,
        header,
        options: field.options.into_iter().map(option).collect(),
        multiple: field.kind == Kind::Multiselect,
    }
}

/// An answer names an option by its value, which for questions is its label.
fn option(raw: RawOption) -> QuestionOption {
    let description = raw.description.unwrap_or_default();
    let description = match raw.label {
        Some(label) if label != raw.value && description.is_empty() => label,
        Some(label) if label != raw.value => format!("{label}: {description}"),
        _ => description,
    };
    QuestionOption { label: raw.value, description }
}

pub(super) fn permissions(body: &[u8]) -> Result<Pending<PermissionAsk>, Undecodable> {
    pending(body, "the list of permission requests", permission)
}

pub(super) fn forms(body: &[u8]) -> Result<Pending<QuestionAsk>, Undecodable> {
    pending(body, "the list of forms", form)
}

/// Asks that cannot be read do not hide the others.
fn pending<Ask>(
    body: &[u8],
    what: &'static str,
    read: fn(&RawValue) -> Result<Ask, Undecodable>,
) -> Result<Pending<Ask>, Undecodable> {
    #[derive(Deserialize)]
    struct Whose {
        id: String,
        #[serde(rename = "sessionID")]
        session: String,
    }
    let list: Vec<&RawValue> = unwrap(body, what)?;
    let mut pending = Pending { asks: Vec::new(), unparseable: Vec::new() };
    for raw in list {
        if let Ok(ask) = read(raw) {
            pending.asks.push(ask);
        } else if let Ok(Whose { id, session }) = serde_json::from_str(raw.get()) {
            pending.unparseable.push(UnparseableAsk { id, session });
        }
    }
    Ok(pending)
}
