//! Asks: what an agent wants to know from a person while it works.
//!
//! An ask is answered once. Dropping the future of an ask withdraws it: it was
//! answered elsewhere, or the turn is over. Whoever cannot reach a person
//! rejects: silence is never consent.

mod part;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use part::AskPart;

/// The agent wants to use a tool that its rules make it ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PermissionAsk {
    /// The ask's own id, `per_…`.
    pub id: String,
    /// The session that asks; a sub-agent's is a child of the turn's session.
    pub session_id: String,
    /// The kind: `bash`, `edit`, `external_directory`, …
    pub permission: String,
    /// What the agent's rules are matched with: often a part of what is asked, and
    /// never shown or granted in its place; [`parts`](Self::parts) are.
    pub patterns: Vec<String>,
    /// Whatever else the agent says about it.
    #[serde(default)]
    pub metadata: Value,
    /// The call of a tool that asks, where the agent names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Box<ToolCall>>,
}

/// A call of a tool, as the agent's record of its session names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The message that it is a part of.
    pub message_id: String,
    /// Its own id.
    pub call_id: String,
    /// What the tool was called with, where the connector knows it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub input: Value,
}

/// The answer to a [`PermissionAsk`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PermissionReply {
    /// This once.
    Once,
    /// This, and the same again in its session: whatever has the same
    /// [parts](PermissionAsk::parts), to the byte. It is kept here, and no agent is ever told.
    Always,
    /// No; the agent is told why and goes on.
    Reject {
        /// For the agent.
        message: String,
    },
}

/// The agent asks one or more questions; all are answered together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuestionAsk {
    /// The ask's own id, `que_…`.
    pub id: String,
    /// The session that asks.
    pub session_id: String,
    /// In order; an answer has one list for each.
    pub questions: Vec<Question>,
}

/// One question with its options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The question.
    pub question: String,
    /// A few words for a heading.
    #[serde(default)]
    pub header: String,
    /// The options, answered by label.
    #[serde(default)]
    pub options: Vec<QuestionOption>,
    /// Whether several options may be chosen.
    #[serde(default)]
    pub multiple: bool,
}

/// One option of a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionOption {
    /// What the answer names.
    pub label: String,
    /// What it means.
    #[serde(default)]
    pub description: String,
}

/// The answer to a [`QuestionAsk`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum QuestionReply {
    /// One list of labels (or free text) for each question, in order.
    Answers {
        /// As many lists as there were questions.
        answers: Vec<Vec<String>>,
    },
    /// Nobody answers this.
    Reject,
}

/// Brings asks to a person.
#[async_trait]
pub trait AskRelay: Send + Sync {
    /// Waits for the answer to a permission request.
    async fn permission(&self, ask: PermissionAsk) -> PermissionReply;

    /// Waits for the answers to a set of questions.
    async fn question(&self, ask: QuestionAsk) -> QuestionReply;
}

/// Rejects every ask: for callers without a person.
#[derive(Debug, Clone, Copy, Default)]
pub struct RejectAsks;

#[async_trait]
impl AskRelay for RejectAsks {
    async fn permission(&self, _ask: PermissionAsk) -> PermissionReply {
        PermissionReply::Reject { message: "nobody is here to approve this; do without it".to_owned() }
    }

    async fn question(&self, _ask: QuestionAsk) -> QuestionReply {
        QuestionReply::Reject
    }
}
