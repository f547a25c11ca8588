//! What one call may use.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::facts;
use crate::{AskRelay, OutboundHttp, ProgressSink, Target};

/// Everything a connector may use during one call of `execute`.
#[derive(Clone)]
pub struct Context {
    /// The only way out, to the granted origins.
    pub http: OutboundHttp,
    /// When the host stops waiting. A connector stops its effects before it.
    pub deadline: Instant,
    /// Cancelled when the call is to stop: stop the effects, then return.
    pub cancel: CancellationToken,
    /// Where progress goes. Never blocks.
    pub progress: ProgressSink,
    /// Who answers permission requests and questions.
    pub asks: Arc<dyn AskRelay>,
    /// Where effects are announced before they begin.
    pub checkpoints: Arc<dyn CheckpointLog>,
    /// Set when an earlier call announced an effect and the host did not see
    /// its end: find out what became of it instead of starting anew.
    pub resume: Option<Checkpoint>,
    /// Where the work came from.
    pub provenance: Provenance,
    /// What the call would touch, as it was approved; nothing where no host asks before a call.
    pub approved: Option<Target>,
}

/// Where the work came from, as the host knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Provenance {
    /// Someone at this machine called the connector.
    Local,
    /// A message in a chat fired a rule: its text is untrusted.
    Chat {
        /// The surface it came through, such as `telegram` or `console`.
        surface: String,
        /// The rule that fired.
        rule: String,
        /// What the agent is told of that.
        #[serde(default)]
        note: SourceNote,
    },
}

/// What an agent is told of where its prompt came from: beside the prompt, never in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceNote {
    /// What the connector usually says.
    #[default]
    Usual,
    /// Nothing.
    None,
    /// This text.
    Text(String),
}

/// A connector's own note of an effect it is about to begin; enough to find out
/// later what became of it. Opaque to the host; holds no secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Checkpoint(pub Value);

impl Checkpoint {
    /// The session it is about, where its member `session_id` names one.
    pub fn session(&self) -> Option<&str> {
        facts::session_of(&self.0)
    }
}

/// The checkpoint could not be made durable. Nothing may be started.
#[derive(Debug, thiserror::Error)]
#[error("the checkpoint could not be recorded: {reason}")]
pub struct CheckpointError {
    /// What the host says about it.
    pub reason: String,
}

/// Makes checkpoints durable.
#[async_trait]
pub trait CheckpointLog: Send + Sync {
    /// Returns once `checkpoint` would survive a crash of the host. A later
    /// checkpoint of the same call replaces it.
    async fn record(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError>;
}

/// Forgets checkpoints: for callers that accept an unknown outcome after a crash.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCheckpoints;

#[async_trait]
impl CheckpointLog for NoCheckpoints {
    async fn record(&self, _checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        Ok(())
    }
}
