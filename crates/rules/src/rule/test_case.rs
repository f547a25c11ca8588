//! `[[tests]]`: examples of what a rule does, beside the rule.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::event::Reply;

/// One example.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestCase {
    /// What it shows, in a sentence.
    pub name: String,
    /// The time at which it happens; the start of 2026 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub now: Option<Timestamp>,
    /// Whether this rule fires.
    #[serde(skip_serializing_if = "is_true")]
    #[schemars(default = "yes")]
    pub fires: bool,
    /// The names of all rules that fire, where that matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<String>>,
    /// What happens.
    #[schemars(default)]
    pub event: TestEvent,
    /// What the run's steps get and give, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub steps: Vec<ExpectedStep>,
}

/// The event of an example. What is left out is what the rule's trigger wants.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestEvent {
    /// The event's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The connector that reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connector: Option<String>,
    /// The connector's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// What the connector reports.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schemars(default)]
    pub payload: Map<String, Value>,
    /// The message of ours that it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ReplySchema>")]
    pub reply: Option<Reply>,
}

/// A step of an example: what it must get, and what it shall give to those after it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectedStep {
    /// The step: its name, or `step1` by place.
    pub step: String,
    /// Its whole resolved input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// Whether its `when` keeps it from running.
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub skipped: bool,
    /// Whether a reference in it has no value, so that it fails.
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub unresolved: bool,
    /// What it gives, for the steps after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// That it fails, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// [`Reply`], for the schema alone.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its shape is used")]
struct ReplySchema {
    session_id: String,
    run_id: String,
    workspace: String,
    #[serde(default)]
    branch: Option<String>,
    #[serde(default)]
    base: Option<String>,
    #[serde(default)]
    commit: Option<String>,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_true(value: &bool) -> bool {
    *value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_false(value: &bool) -> bool {
    !*value
}
