//! What hosts and connectors of ours say to each other beyond MCP.
//!
//! Both sides advertise [`CAPABILITY`] with [`VERSION`] among their experimental
//! capabilities; neither uses it with a peer that does not. Three messages of its
//! own: a connector is [configured](Configure) over the pipe, so that no secret is
//! in an argument or an environment; it reports a [checkpoint](CheckpointNote) and
//! waits until that is durable; and a call is asked to [stop](StopCall), after
//! which its true outcome is still answered. Everything else rides in `_meta`, so
//! that a plain MCP peer can ignore it.

use std::collections::BTreeMap;
use std::fmt;

use connector_contract::ask::{PermissionAsk, PermissionReply, QuestionAsk, QuestionReply};
use connector_contract::{Checkpoint, Manifest, Origin, Pins, Provenance, Target};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The key among the experimental capabilities; its value is [`Offer`].
pub const CAPABILITY: &str = "connector-opencode/host";

/// The one version there is. Peers of different versions refuse each other.
pub const VERSION: u32 = 1;

/// Every method of the extension begins with this.
pub(crate) const PREFIX: &str = "connector-opencode/";

/// Request, host to connector: [`Configure`], answered with [`Configured`].
pub const CONFIGURE: &str = "connector-opencode/configure";
/// Request, connector to host: [`CheckpointNote`], answered with `{}` once durable.
pub const CHECKPOINT: &str = "connector-opencode/checkpoint";
/// Notification, host to connector: [`StopCall`].
pub const STOP: &str = "connector-opencode/stop";

/// `_meta` of `tools/call`: [`CallMeta`].
pub const CALL: &str = "connector-opencode/call";
/// `_meta` of `notifications/progress`: [`ProgressMeta`].
pub const PROGRESS: &str = "connector-opencode/progress";
/// `_meta` of `elicitation/create`: [`AskMeta`].
pub const ASK: &str = "connector-opencode/ask";
/// `_meta` of its result: [`Reply`].
pub const REPLY: &str = "connector-opencode/reply";
/// `_meta` of a tool's result with `isError`: [`Problem`](crate::Problem).
pub const ERROR: &str = "connector-opencode/error";
/// `_meta` of a tool's result: [`ResultMeta`].
pub const RESULT: &str = "connector-opencode/result";

/// What a side says it can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// [`VERSION`].
    pub version: u32,
}

/// Makes the connector ready to be called; once, before the first call.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Configure {
    /// Its section of the host's configuration, secrets included.
    pub config: Value,
    /// The origins it may speak to.
    pub grants: Vec<Origin>,
    /// What their names stand for.
    #[serde(default)]
    pub pins: Pins,
}

impl fmt::Debug for Configure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configure")
            .field("grants", &self.grants)
            .field("pins", &self.pins)
            .finish_non_exhaustive()
    }
}

/// What the configuration made of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Configured {
    /// Its manifest with the capabilities this configuration needs.
    pub manifest: Manifest,
    /// Whether it reports a checkpoint before every effect.
    pub checkpoints: bool,
    /// What each action would touch beyond what its input says.
    #[serde(default)]
    pub targets: BTreeMap<String, Targets>,
}

/// [`Target`]s by where the work came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Targets {
    /// For somebody at this machine.
    pub local: Target,
    /// For a message in a chat.
    pub chat: Target,
}

/// What a call carries beside the tool's name and arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallMeta {
    /// The host's name for this call, unique within the connection.
    pub call: String,
    /// How long the host waits, in milliseconds from now.
    pub deadline_ms: u64,
    /// Where the work came from.
    pub provenance: Provenance,
    /// The effect to go on with instead of beginning one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Checkpoint>,
}

/// An effect that is about to begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointNote {
    /// Whose it is.
    pub call: String,
    /// The connector's own note of it.
    pub checkpoint: Checkpoint,
}

/// The call is to stop its effects and then answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopCall {
    /// Which.
    pub call: String,
}

/// Exact progress beside the words for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProgressMeta {
    /// Whose it is; absent when the host gave the call no name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The update.
    pub update: connector_contract::Progress,
}

/// The exact ask beside the form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AskMeta {
    /// Whose it is; absent when the host gave the call no name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The ask.
    pub ask: Ask,
}

/// Either kind of ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Ask {
    /// The agent wants to use a tool.
    Permission(PermissionAsk),
    /// The agent has questions.
    Question(QuestionAsk),
}

/// The exact answer beside the form's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To a permission request.
    Permission(PermissionReply),
    /// To questions.
    Question(QuestionReply),
}

/// What a tool's result says of itself beside its output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultMeta {
    /// Whether the action did what it was asked.
    pub success: bool,
    /// One line for a log or a chat.
    #[serde(default)]
    pub message: String,
}

/// Reads `meta[key]`; `None` when it is absent, an error when it is not what it should be.
pub(crate) fn read<T: serde::de::DeserializeOwned>(
    meta: &serde_json::Map<String, Value>,
    key: &str,
) -> Result<Option<T>, serde_json::Error> {
    meta.get(key).map(|value| T::deserialize(value)).transpose()
}

/// `{key: value}` for a `_meta`.
pub(crate) fn meta<T: Serialize>(key: &str, value: &T) -> serde_json::Map<String, Value> {
    // These types hold strings, numbers and maps with string keys: they always serialise.
    let value = serde_json::to_value(value).unwrap_or_default();
    serde_json::Map::from_iter([(key.to_owned(), value)])
}

#[cfg(test)]
mod tests {
    use connector_contract::Capability;

    use super::*;
    use serde_json::json;

    fn reads<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_documented_is_what_is_spoken() {
        let document = include_str!("../../../docs/mcp.md");
        let (_, after) = document.split_once("```jsonc\n").unwrap();
        let (block, _) = after.split_once("```").unwrap();
        let text: String = block.lines().filter(|line| !line.starts_with("//")).collect();
        let mut values = serde_json::Deserializer::from_str(&text).into_iter::<Value>().map(Result::unwrap);
        let mut next = || values.next().unwrap();
        let configure: Configure = reads(next());
        let configured: Configured = reads(next());
        let Capability::NetworkOutbound { host } = &configured.manifest.capabilities[0] else { panic!() };
        assert_eq!(configure.grants[0].authority(), *host);
        let meta = |value: Value, key: &str| value[key].clone();
        assert!(reads::<CallMeta>(meta(next(), CALL)).resume.is_some());
        reads::<CheckpointNote>(next());
        reads::<StopCall>(next());
        reads::<AskMeta>(meta(next(), ASK));
        reads::<Reply>(meta(next(), REPLY));
        assert_eq!(values.next(), None);
    }

    #[test]
    fn a_configuration_shows_no_secret_when_it_is_printed() {
        let configure = Configure {
            config: json!({ "password": "hunter2" }),
            grants: vec!["http://127.0.0.1:4096".parse().unwrap()],
            pins: Pins::default(),
        };
        let text = format!("{configure:?}");
        assert!(text.contains("4096") && !text.contains("hunter2"), "{text}");
    }
}
