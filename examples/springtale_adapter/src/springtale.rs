//! The part of Springtale's connector crate that an adapter meets, in its shape.
//!
//! Take the crate itself in place of this module: the names and the signatures are the same.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What an action returned.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ActionResult {
    /// Whether it did what it was asked.
    pub success: bool,
    /// What it gave.
    pub output: Value,
    /// A line for people.
    #[serde(default)]
    pub message: String,
}

/// Why an action has no result.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// What went wrong.
    #[error("connector execution failed: {0}")]
    ExecutionFailed(String),
}

/// A connector's declaration of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectorManifest {
    /// `connector-` and a word.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whose it is.
    pub author: String,
    /// What it does.
    pub description: String,
    /// What it needs.
    pub capabilities: Vec<Capability>,
    /// Its events.
    #[serde(default)]
    pub triggers: Vec<TriggerDecl>,
    /// Its actions.
    #[serde(default)]
    pub actions: Vec<ActionDecl>,
    /// What data it hands on.
    #[serde(default)]
    pub data_disclosure: Vec<Value>,
}

/// What a connector needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Capability {
    /// One host.
    NetworkOutbound {
        /// Its name.
        host: String,
    },
}

/// An event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TriggerDecl {
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Its payload.
    #[serde(default)]
    pub schema: Option<Value>,
}

/// An action.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ActionDecl {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// Its input.
    #[serde(default)]
    pub input_schema: Option<Value>,
    /// Its output.
    #[serde(default)]
    pub output_schema: Option<Value>,
    /// Whether it changes nothing.
    #[serde(default)]
    pub read_only: bool,
}

/// Called for each event.
pub type EventHandler = Box<dyn Fn(Value) + Send + Sync>;

/// A handler that was registered.
#[derive(Debug)]
pub struct Subscription {
    /// Unique within the connector.
    pub id: u64,
    /// The event's name.
    pub trigger: String,
}

/// What every connector implements.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Its events.
    fn triggers(&self) -> &[TriggerDecl];
    /// Its actions.
    fn actions(&self) -> &[ActionDecl];
    /// Performs an action.
    async fn execute(&self, action: &str, input: Value) -> Result<ActionResult, ConnectorError>;
    /// Registers a handler.
    async fn on_event(&self, trigger: &str, handler: EventHandler) -> Result<Subscription, ConnectorError>;
    /// Removes one.
    async fn remove_event(&self, sub: &Subscription) -> Result<(), ConnectorError>;
    /// Its declaration.
    fn manifest(&self) -> &ConnectorManifest;
}
