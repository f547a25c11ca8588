//! What happened, as the surface or schedule that saw it recorded it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One recorded event: the input of matching.
///
/// The host stores it before it is matched; `id` is the id under which it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The id under which the host stored the event.
    pub id: String,
    /// The connector that saw it, for example `connector-telegram`.
    pub connector: String,
    /// The connector's name for this kind of event, for example `message_received`.
    pub event: String,
    /// What the connector reported. Untrusted: text from a chat is in here.
    #[serde(default)]
    pub payload: Value,
    /// Set by the host, and only by the host, when the event answers one of our messages.
    ///
    /// It is what `trigger.reply.…` reads. A `reply` key inside `payload` is never read in its
    /// place, so nobody can claim another session by sending one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply>,
}

/// The message of ours that an event answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The session whose result the answered message showed.
    pub session_id: String,
    /// The run that produced it.
    pub run_id: String,
    /// The workspace it ran in.
    pub workspace: String,
    /// The branch that it left its changes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The commit that these begin at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// The commit that has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

impl Reply {
    /// The field that `${trigger.reply.NAME}` reads, if it is there.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        match name {
            "session_id" => Some(&self.session_id),
            "run_id" => Some(&self.run_id),
            "workspace" => Some(&self.workspace),
            "branch" => self.branch.as_deref(),
            "base" => self.base.as_deref(),
            "commit" => self.commit.as_deref(),
            _ => None,
        }
    }
}
