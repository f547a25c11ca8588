//! What a connector can do and what came of doing it.

mod normalize;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Declares one action of a connector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct ActionDecl {
    /// The name rules use, such as `run_task`.
    pub name: String,
    /// One or two sentences for people and for models.
    pub description: String,
    /// `true` only when the action cannot change anything anywhere. Everything
    /// else waits at the gate.
    #[serde(default)]
    pub read_only: bool,
    /// JSON Schema of the input; absent means any object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// JSON Schema of [`ActionResult::output`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
}

/// As a manifest writes it. What Springtale's say besides: what destroys is not read-only, whatever else is said of
/// it, and so waits at the gate; nothing is polled.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    description: String,
    #[serde(default)]
    read_only: bool,
    input_schema: Option<Value>,
    output_schema: Option<Value>,
    #[serde(default)]
    destructive: Option<bool>,
    #[serde(default, rename = "poll_interval_secs")]
    _poll_interval_secs: Option<u64>,
}

impl From<Written> for ActionDecl {
    fn from(written: Written) -> Self {
        let Written { name, description, input_schema, output_schema, .. } = written;
        let read_only = written.read_only && written.destructive != Some(true);
        Self { name, description, read_only, input_schema, output_schema }
    }
}

/// Declares one event that a connector can emit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggerDecl {
    /// The name rules use, such as `message_received`.
    pub name: String,
    /// One or two sentences for people.
    pub description: String,
    /// JSON Schema of the event's payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
}

/// What an action returned.
///
/// A connector returns `success: false` only for an action that ran to its end
/// and whose result is a refusal worth keeping; everything else that is not a
/// success is a [`ConnectorError`](crate::ConnectorError). A host treats
/// `success: false` as a failed step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionResult {
    /// Whether the action did what it was asked.
    pub success: bool,
    /// The output, in the shape of the action's `output_schema`.
    pub output: Value,
    /// One line for a log or a chat.
    #[serde(default)]
    pub message: String,
}

/// Why an input does not fit an action's schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("input of `{action}` does not fit its schema: {}", .problems.join("; "))]
pub struct InputError {
    /// The action whose schema it is.
    pub action: String,
    /// One fragment for each problem: where it is, and what was expected.
    pub problems: Vec<String>,
}

impl ActionDecl {
    /// `input` as [`input_schema`](Self::input_schema) spells it, to be called before
    /// [`validate`](Self::validate) wherever an input comes from outside.
    ///
    /// A `null` for an optional property that takes none is left out, and a whole float is an integer
    /// where the schema wants one. Everything else is as it was, wrong values included.
    #[must_use]
    pub fn normalize(&self, input: Value) -> Value {
        match &self.input_schema {
            Some(schema) => normalize::normalize(schema, input),
            None => input,
        }
    }

    /// Checks `input` against [`input_schema`](Self::input_schema).
    ///
    /// Reports every problem, not the first, and never quotes a value longer
    /// than a few words: inputs may hold a whole prompt.
    pub fn validate(&self, input: &Value) -> Result<(), InputError> {
        let fail = |problems| InputError { action: self.name.clone(), problems };
        let Some(schema) = &self.input_schema else {
            return if input.is_object() { Ok(()) } else { Err(fail(vec!["expected an object".to_owned()])) };
        };
        let validator = jsonschema::validator_for(schema)
            .map_err(|error| fail(vec![format!("the schema itself is invalid: {error}")]))?;
        let problems: Vec<String> = validator.iter_errors(input).map(|error| describe(&error)).collect();
        if problems.is_empty() { Ok(()) } else { Err(fail(problems)) }
    }
}

/// Values may be a megabyte of prompt, so they are masked out of the message.
fn describe(error: &jsonschema::ValidationError<'_>) -> String {
    let place = error.instance_path().to_string();
    let what = error.masked_with("the value").to_string();
    if place.is_empty() { what } else { format!("`{}`: {what}", place.trim_start_matches('/')) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn decl() -> ActionDecl {
        ActionDecl {
            name: "run_task".into(),
            description: String::new(),
            read_only: false,
            input_schema: Some(json!({
                "type": "object",
                "properties": { "prompt": { "type": "string", "minLength": 1 } },
                "required": ["prompt"],
                "additionalProperties": false,
            })),
            output_schema: None,
        }
    }

    #[test]
    fn a_fitting_input_passes() {
        assert_eq!(decl().validate(&json!({ "prompt": "fix it" })), Ok(()));
    }

    #[test]
    fn every_problem_is_named_and_no_value_is_quoted() {
        let error = decl().validate(&json!({ "prompt": 4_242, "promt": "secret words" })).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`prompt`") && text.contains("promt"), "{text}");
        assert!(!text.contains("4242") && !text.contains("secret words"), "{text}");
        assert_eq!(error.problems.len(), 2, "{text}");
    }

    #[test]
    fn without_a_schema_only_objects_pass() {
        let open = ActionDecl { input_schema: None, ..decl() };
        assert_eq!(open.validate(&json!({})), Ok(()));
        assert!(open.validate(&json!("text")).is_err());
    }
}
