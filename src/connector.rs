//! The plugin as a host sees it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use connector_contract::{
    ActionDecl, ActionResult, Capability, Connector, ConnectorError, ConnectorFactory, Context, EventHandler,
    Manifest, Provenance, SourceNote, Subscription, Target,
};
use serde_json::{Value, json};

use crate::call::{self, Shared};
use crate::config::{Config, Settings};
use crate::probe::DaemonProbe;
use crate::queue::Queue;
use crate::timing::Timing;
use crate::wire;

/// `connector.toml`, as it is in the repository.
pub const MANIFEST: &str = include_str!("../connector.toml");

/// Makes [`OpencodeConnector`]s.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpencodeFactory {
    /// How patient they are.
    pub timing: Timing,
}

/// A connector to one daemon.
pub struct OpencodeConnector {
    manifest: Manifest,
    shared: Shared,
}

impl OpencodeConnector {
    /// Checks `config` and makes a connector of it. Does no I/O.
    pub fn new(config: Config, timing: Timing) -> Result<Self, ConnectorError> {
        let settings = config.check()?;
        let manifest = manifest_for(&settings)?;
        let (password, directory) = (settings.password.as_ref(), settings.directory.as_deref());
        let dialects = wire::dialects(&settings.origin, password, directory);
        let probe = DaemonProbe::new(dialects, timing, settings.limits.event_bytes).taking(settings.probe);
        let shared = Shared { settings, timing, probe, queue: Queue::default() };
        Ok(Self { manifest, shared })
    }
}

impl std::fmt::Debug for OpencodeConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpencodeConnector").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

/// What the agent is told of its prompt's origin, where that is not the usual.
fn unusual_note(provenance: &Provenance, name_source: bool) -> Option<Value> {
    match provenance {
        Provenance::Local => None,
        Provenance::Chat { .. } if !name_source => Some(json!("none")),
        Provenance::Chat { note, .. } => match note {
            SourceNote::Usual => None,
            SourceNote::None => Some(json!("none")),
            SourceNote::Text(text) => Some(json!(text)),
        },
    }
}

fn embedded() -> Result<Manifest, ConnectorError> {
    Manifest::parse(MANIFEST).map_err(|error| ConnectorError::InvalidConfig {
        reason: format!("connector.toml: {}", connector_contract::chain(&error)),
    })
}

/// The manifest with the one capability that this configuration needs.
fn manifest_for(settings: &Settings) -> Result<Manifest, ConnectorError> {
    let mut manifest = embedded()?;
    manifest.capabilities = vec![Capability::outbound_to(&settings.origin)];
    Ok(manifest)
}

#[async_trait]
impl Connector for OpencodeConnector {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn execute(
        &self,
        action: &str,
        input: Value,
        ctx: &Context,
    ) -> Result<ActionResult, ConnectorError> {
        Box::pin(call::execute(&self.shared, action, input, ctx)).await
    }

    fn check(&self, action: &str, input: &Value) -> Result<(), ConnectorError> {
        crate::input::Task::parse(action, input.clone(), &self.shared.settings).map(|_| ())
    }

    fn target(&self, _action: &str, input: &Value, provenance: &Provenance) -> Target {
        let settings = &self.shared.settings;
        let given = |key: &str| input.get(key).filter(|value| !value.is_null()).cloned();
        let mut target = BTreeMap::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                target.insert(key.to_owned(), value);
            }
        };
        put("directory", settings.directory.as_ref().map(|it| json!(it)));
        put("model", given("model").or_else(|| settings.model.as_ref().map(|it| json!(it))));
        put("agent", given("agent").or_else(|| settings.agent.as_ref().map(|it| json!(it))));
        put("permissions", settings.permissions_for(provenance).map(|it| json!(it)));
        put("asks", Some(json!(settings.asks)));
        put("note", unusual_note(provenance, settings.name_source));
        Target { origin: Some(settings.origin.to_string()), settings: target }
    }

    fn checkpoints(&self) -> bool {
        true
    }

    async fn on_event(&self, trigger: &str, _handler: EventHandler) -> Result<Subscription, ConnectorError> {
        Err(ConnectorError::InvalidInput {
            reason: format!("{} has no triggers, so no `{trigger}`", crate::NAME),
        })
    }

    async fn remove_event(&self, _subscription: &Subscription) -> Result<(), ConnectorError> {
        Ok(())
    }
}

#[async_trait]
impl ConnectorFactory for OpencodeFactory {
    fn name(&self) -> &'static str {
        crate::NAME
    }

    fn config_key(&self) -> &'static str {
        "opencode"
    }

    fn requires_config(&self) -> bool {
        false
    }

    fn config_schema(&self) -> Option<Value> {
        Some(crate::schema::config())
    }

    fn action_declarations(&self) -> Vec<ActionDecl> {
        embedded().map(|manifest| manifest.actions).unwrap_or_default()
    }

    async fn create(&self, config: Value) -> Result<Box<dyn Connector>, ConnectorError> {
        let config = if config.is_null() { json!({}) } else { config };
        if !config.is_object() {
            return Err(ConnectorError::InvalidConfig { reason: "expected a table".to_owned() });
        }
        let config: Config =
            connector_contract::decode(config).map_err(|reason| ConnectorError::InvalidConfig { reason })?;
        Ok(Box::new(OpencodeConnector::new(config, self.timing)?))
    }
}
