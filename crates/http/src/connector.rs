//! The plugin as a host sees it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use connector_contract::{
    ActionDecl, ActionResult, Capability, Connector, ConnectorError, ConnectorFactory, Context, EventHandler,
    Manifest, Provenance, Subscription, Target, chain, decode,
};
use serde_json::{Value, json};

use crate::config::{Config, Settings};
use crate::request::Call;

/// `connector.toml`, as it is in the repository.
pub const MANIFEST: &str = include_str!("../connector.toml");

/// Factory of [`HttpConnector`]s.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpFactory;

/// Connector to one HTTP server.
#[derive(Debug)]
pub struct HttpConnector {
    manifest: Manifest,
    settings: Settings,
}

impl HttpConnector {
    /// Checks `config` and makes a connector of it. Does no I/O.
    pub fn new(config: Config) -> Result<Self, ConnectorError> {
        let settings = config.check()?;
        let mut manifest = embedded()?;
        manifest.capabilities = vec![Capability::outbound_to(&settings.origin)];
        Ok(Self { manifest, settings })
    }
}

fn embedded() -> Result<Manifest, ConnectorError> {
    Manifest::parse(MANIFEST).map_err(|error| ConnectorError::InvalidConfig {
        reason: format!("connector.toml: {}", chain(&error)),
    })
}

#[async_trait]
impl Connector for HttpConnector {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn execute(
        &self,
        action: &str,
        input: Value,
        ctx: &Context,
    ) -> Result<ActionResult, ConnectorError> {
        self.check(action, &input)?;
        Call::of(action, &input, &self.settings)?.send(&self.settings, ctx).await
    }

    fn check(&self, action: &str, input: &Value) -> Result<(), ConnectorError> {
        let Some(decl) = self.actions().iter().find(|decl| decl.name == action) else {
            let connector = self.manifest.name.clone();
            return Err(ConnectorError::UnknownAction { connector, action: action.to_owned() });
        };
        let invalid = |reason: String| ConnectorError::InvalidInput { reason };
        decl.validate(input).map_err(|error| invalid(error.to_string()))?;
        Call::of(action, input, &self.settings).map(drop)
    }

    fn target(&self, _action: &str, _input: &Value, _provenance: &Provenance) -> Target {
        let headers = Some(&self.settings.shown).filter(|shown| !shown.is_empty());
        let settings: BTreeMap<_, _> =
            headers.map(|shown| ("headers".to_owned(), json!(shown))).into_iter().collect();
        Target { settings, ..Target::at(&self.settings.origin) }
    }

    async fn on_event(&self, trigger: &str, _handler: EventHandler) -> Result<Subscription, ConnectorError> {
        let reason = format!("{} has no triggers, so no `{trigger}`", crate::NAME);
        Err(ConnectorError::InvalidInput { reason })
    }

    async fn remove_event(&self, _subscription: &Subscription) -> Result<(), ConnectorError> {
        Ok(())
    }
}

#[async_trait]
impl ConnectorFactory for HttpFactory {
    fn name(&self) -> &'static str {
        crate::NAME
    }

    fn config_key(&self) -> &'static str {
        "http"
    }

    fn config_schema(&self) -> Option<Value> {
        Some(schemars::schema_for!(Config).to_value())
    }

    fn action_declarations(&self) -> Vec<ActionDecl> {
        embedded().map(|manifest| manifest.actions).unwrap_or_default()
    }

    async fn create(&self, config: Value) -> Result<Box<dyn Connector>, ConnectorError> {
        let config: Config = decode(config).map_err(|reason| ConnectorError::InvalidConfig { reason })?;
        Ok(Box::new(HttpConnector::new(config)?))
    }
}
