//! The traits a plugin implements.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::facts;
use crate::{ActionDecl, ActionResult, ConnectorError, Context, Manifest, Origin, Provenance, TriggerDecl};

/// Called by a connector for each event of a trigger, with the event's payload.
pub type EventHandler = Box<dyn Fn(Value) + Send + Sync>;

/// A handler that [`Connector::on_event`] registered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subscription {
    /// The trigger it listens to.
    pub trigger: String,
    /// Unique within the connector.
    pub id: u64,
}

/// What an action would touch beyond what its input says: the part of the
/// configuration that decides where it runs and with which powers.
///
/// The gate shows it to the approver and binds it into the digest, so that a
/// change of configuration after the approval is noticed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Where it runs, as [`Origin`] writes itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Named settings in effect: `directory`, `isolation`, `model`, `agent`, `permissions`.
    /// Never a secret.
    #[serde(default)]
    pub settings: BTreeMap<String, Value>,
}

impl Target {
    /// A target at `origin` without settings.
    pub fn at(origin: &Origin) -> Self {
        Self { origin: Some(origin.to_string()), settings: BTreeMap::new() }
    }

    /// The concurrency key of a call: calls with the same key run one after another. Those at one place share it, since
    /// they share its directory, if it has one; but a call with a working tree of its own (the setting `isolation` is
    /// `worktree`) shares it only with those that go on with the same session.
    ///
    /// `connector` stands for the place of a target without an origin; `call` is the call's own name.
    pub fn concurrency_key(&self, connector: &str, input: &Value, call: &str) -> String {
        let setting = |key: &str| self.settings.get(key).and_then(Value::as_str).unwrap_or_default();
        let key = format!("{} {}", self.origin.as_deref().unwrap_or(connector), setting("directory"));
        match (setting("isolation"), facts::session_of(input)) {
            ("worktree", Some(session)) => format!("{key} session {session}"),
            ("worktree", None) => format!("{key} {call}"),
            _ => key,
        }
    }
}

/// A plugin: it declares triggers and actions, and executes actions.
///
/// The shape is Springtale's; `execute` takes a [`Context`] besides, and three
/// methods with defaults, [`check`](Self::check), [`target`](Self::target) and
/// [`checkpoints`](Self::checkpoints), let a host refuse, show and resume what runs.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Events this connector can emit: those of its manifest.
    fn triggers(&self) -> &[TriggerDecl] {
        &self.manifest().triggers
    }

    /// Actions this connector can perform: those of its manifest.
    fn actions(&self) -> &[ActionDecl] {
        &self.manifest().actions
    }

    /// What this instance is and which capabilities it needs, with the values
    /// of its configuration filled in.
    fn manifest(&self) -> &Manifest;

    /// Performs `action`.
    ///
    /// The host has validated `input` against the action's schema and has the
    /// approval it takes; the connector validates again, since not every host
    /// does. With [`Context::resume`] set, it goes on with that effect and
    /// starts nothing new.
    ///
    /// Cancellation: cancelling `ctx.cancel` asks for an orderly stop and still
    /// returns; dropping the future must not leave an effect running unowned.
    async fn execute(
        &self,
        action: &str,
        input: Value,
        ctx: &Context,
    ) -> Result<ActionResult, ConnectorError>;

    /// Whether [`execute`](Self::execute) would take `input`, including what a
    /// schema cannot say. Pure: it does no I/O. A host asks this before it asks
    /// a person.
    fn check(&self, action: &str, input: &Value) -> Result<(), ConnectorError> {
        let Some(decl) = self.actions().iter().find(|decl| decl.name == action) else {
            let connector = self.manifest().name.clone();
            return Err(ConnectorError::UnknownAction { connector, action: action.to_owned() });
        };
        decl.validate(input).map_err(|error| ConnectorError::InvalidInput { reason: error.to_string() })
    }

    /// What `action` with `input` would touch. Pure: it does no I/O.
    fn target(&self, _action: &str, _input: &Value, _provenance: &Provenance) -> Target {
        Target::default()
    }

    /// Whether every effect is announced through [`Context::checkpoints`]
    /// before it begins. Then a call without a checkpoint has had no effect and
    /// may be made again; otherwise its outcome is unknown.
    fn checkpoints(&self) -> bool {
        false
    }

    /// Registers `handler` for `trigger`.
    async fn on_event(&self, trigger: &str, handler: EventHandler) -> Result<Subscription, ConnectorError>;

    /// Removes a handler; removing it twice is not an error.
    async fn remove_event(&self, subscription: &Subscription) -> Result<(), ConnectorError>;
}

/// Makes connectors from configuration, and describes them without one.
#[async_trait]
pub trait ConnectorFactory: Send + Sync + 'static {
    /// The connector's name, as in its manifest: `connector-opencode`.
    fn name(&self) -> &'static str;

    /// The key of its section in a configuration file: `opencode`.
    fn config_key(&self) -> &'static str;

    /// Whether it can be made from an empty configuration.
    fn requires_config(&self) -> bool {
        true
    }

    /// JSON Schema of the configuration; secret fields carry `"x-secret": true`.
    fn config_schema(&self) -> Option<Value> {
        None
    }

    /// The triggers its instances declare.
    fn trigger_declarations(&self) -> Vec<TriggerDecl> {
        Vec::new()
    }

    /// The actions its instances declare.
    fn action_declarations(&self) -> Vec<ActionDecl> {
        Vec::new()
    }

    /// Makes an instance. Does no I/O beyond what the connector documents, and
    /// its errors never quote a secret.
    async fn create(&self, config: Value) -> Result<Box<dyn Connector>, ConnectorError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn calls_with_a_tree_each_run_side_by_side_and_those_of_one_session_one_after_another() {
        let in_tree = |call: &str, input: Value, isolation: &str| {
            let settings = [("directory", "/a"), ("isolation", isolation)];
            let settings = settings.map(|(key, value)| (key.to_owned(), json!(value))).into();
            Target { origin: None, settings }.concurrency_key("c", &input, call)
        };
        let new = || json!({ "prompt": "x" });
        let on = |session: &str| json!({ "prompt": "x", "session_id": session });
        for (one, other, isolation, same) in [
            (new(), new(), "worktree", false),
            (new(), on("ses_1"), "worktree", false),
            (on("ses_1"), on("ses_1"), "worktree", true),
            (on("ses_1"), on("ses_2"), "worktree", false),
            (on("ses_1"), new(), "none", true),
        ] {
            let keys = (in_tree("1.1", one.clone(), isolation), in_tree("1.2", other.clone(), isolation));
            assert_eq!(keys.0 == keys.1, same, "{one} {other} {isolation}");
        }
    }

    /// A host compares it with what one before it stored.
    #[test]
    fn the_text_of_a_concurrency_key_stays_as_it_is() {
        for (origin, settings, input, key) in [
            (None, json!({}), json!({}), "c "),
            (Some("http://h:1"), json!({ "directory": "/a" }), json!({ "session_id": "s" }), "http://h:1 /a"),
            (None, json!({ "directory": "/a", "isolation": "worktree" }), json!({}), "c /a 1.1"),
            (
                Some("http://h:1"),
                json!({ "directory": "/a", "isolation": "worktree" }),
                json!({ "session_id": "s" }),
                "http://h:1 /a session s",
            ),
        ] {
            let settings = serde_json::from_value(settings).unwrap();
            let target = Target { origin: origin.map(str::to_owned), settings };
            assert_eq!(target.concurrency_key("c", &input, "1.1"), key);
        }
    }
}
