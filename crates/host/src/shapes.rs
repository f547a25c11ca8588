//! What types of the connector contract are as JSON: for the schemas of what the host prints.
//!
//! The contract itself knows no schemas; the API's answers are compared with these by the tests that fuzz it.

#![expect(dead_code, reason = "a shape is described and never made")]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

/// What an action would touch.
#[derive(JsonSchema)]
pub struct Target {
    /// Where it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    /// Named settings in effect, such as `directory` and `model`.
    settings: BTreeMap<String, Value>,
}

/// What is to be assumed after a failure.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consequence {
    /// Nothing was started.
    NothingStarted,
    /// It ran and ended in failure; effects may remain.
    Failed,
    /// It was stopped before its end; effects may remain.
    Stopped,
    /// Nobody knows.
    Unknown,
}

/// What an agent asks.
#[derive(JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Asked {
    /// It wants to use a tool.
    Permission {
        /// The daemon's own id of it.
        id: String,
        /// The session that asks.
        session_id: String,
        /// The kind, such as `bash`.
        permission: String,
        /// What its rules are matched with.
        patterns: Vec<String>,
        /// Whatever else the agent says about it.
        metadata: Value,
        /// The call of a tool that asks.
        #[serde(skip_serializing_if = "Option::is_none")]
        call: Option<Value>,
    },
    /// It has questions.
    Question {
        /// The daemon's own id of it.
        id: String,
        /// The session that asks.
        session_id: String,
        /// In order; an answer has one list for each.
        questions: Vec<Question>,
    },
}

/// A question with its options.
#[derive(JsonSchema)]
#[expect(clippy::struct_field_names, reason = "it is what the JSON has")]
pub struct Question {
    /// The question.
    question: String,
    /// A few words for a heading.
    header: String,
    /// What may be answered, by label; other words may be, too.
    options: Vec<QuestionOption>,
    /// Whether several may be chosen.
    multiple: bool,
}

/// An option of a question.
#[derive(JsonSchema)]
pub struct QuestionOption {
    /// What the answer names.
    label: String,
    /// What it means.
    description: String,
}

/// An answer to an ask.
#[derive(JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer {
    /// A permission, this once.
    Once,
    /// A permission for this session.
    Always,
    /// No.
    Reject {
        /// Why, for the agent.
        message: String,
    },
    /// What was answered to questions.
    Answers {
        /// One list for each question.
        answers: Vec<Vec<String>>,
    },
}
