//! The plugin as a host sees it: three triggers, whose events the surface reports, and five actions.

mod act;

use async_trait::async_trait;
use connector_contract::{
    ActionDecl, ActionResult, Capability, Connector, ConnectorError, ConnectorFactory, Context, EventHandler,
    Manifest, Provenance, Subscription, Target, TriggerDecl,
};
use serde_json::Value;

use crate::config::{Config, Settings};

/// The connector's manifest, as it is in the repository.
pub const MANIFEST: &str = include_str!("../connector.toml");

/// Makes [`MatrixConnector`]s.
#[derive(Debug, Clone, Copy, Default)]
pub struct MatrixFactory;

/// A connector for one user.
#[derive(Debug)]
pub struct MatrixConnector {
    manifest: Manifest,
    settings: Settings,
}

impl MatrixConnector {
    /// A connector for checked settings. Does no I/O.
    pub fn new(settings: Settings) -> Result<Self, ConnectorError> {
        let mut manifest = embedded()?;
        manifest.capabilities = vec![Capability::outbound_to(&settings.origin)];
        Ok(Self { manifest, settings })
    }
}

fn embedded() -> Result<Manifest, ConnectorError> {
    Manifest::parse(MANIFEST).map_err(|error| ConnectorError::InvalidConfig {
        reason: format!("connector.toml: {}", connector_contract::chain(&error)),
    })
}

#[async_trait]
impl Connector for MatrixConnector {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn execute(
        &self,
        action: &str,
        input: Value,
        ctx: &Context,
    ) -> Result<ActionResult, ConnectorError> {
        let api =
            crate::Api::new(ctx.http.clone(), self.settings.origin.clone(), self.settings.token.clone());
        tokio::select! {
            biased;
            result = act::execute(&api, &self.settings, action, input, ctx) => result,
            () = ctx.cancel.cancelled() => Err(act::cut_off("cancelled while it was sent")),
            () = tokio::time::sleep_until(ctx.deadline) => Err(act::cut_off("the deadline passed while it was sent")),
        }
    }

    /// What is sent is announced with its transaction id, under which it is the same when it is sent again.
    fn checkpoints(&self) -> bool {
        true
    }

    fn target(&self, _action: &str, _input: &Value, _provenance: &Provenance) -> Target {
        let mut target = Target::at(&self.settings.origin);
        target.settings.insert("bot".to_owned(), self.settings.user.as_str().into());
        target
    }

    async fn on_event(&self, trigger: &str, _handler: EventHandler) -> Result<Subscription, ConnectorError> {
        let reason = format!("{} is told of `{trigger}` by its surface alone", crate::NAME);
        Err(ConnectorError::InvalidInput { reason })
    }

    async fn remove_event(&self, _subscription: &Subscription) -> Result<(), ConnectorError> {
        Ok(())
    }
}

#[async_trait]
impl ConnectorFactory for MatrixFactory {
    fn name(&self) -> &'static str {
        crate::NAME
    }

    fn config_key(&self) -> &'static str {
        "matrix"
    }

    fn config_schema(&self) -> Option<Value> {
        Some(schemars::schema_for!(Config).to_value())
    }

    fn trigger_declarations(&self) -> Vec<TriggerDecl> {
        embedded().map(|manifest| manifest.triggers).unwrap_or_default()
    }

    fn action_declarations(&self) -> Vec<ActionDecl> {
        embedded().map(|manifest| manifest.actions).unwrap_or_default()
    }

    async fn create(&self, config: Value) -> Result<Box<dyn Connector>, ConnectorError> {
        let config: Config =
            connector_contract::decode(config).map_err(|reason| ConnectorError::InvalidConfig { reason })?;
        Ok(Box::new(MatrixConnector::new(config.check()?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_declares_what_is_carried_out_and_what_happens() {
        let manifest = embedded().unwrap();
        let names: Vec<&str> = manifest.actions.iter().map(|action| action.name.as_str()).collect();
        assert_eq!(names, act::ACTIONS);
        assert!(manifest.actions.iter().all(|action| !action.read_only && action.input_schema.is_some()));
        let triggers: Vec<&str> = manifest.triggers.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(triggers, ["message_received", "command_received", "reaction_received"]);
    }

    #[tokio::test]
    async fn a_wrong_configuration_does_not_show_the_token() {
        let wrong = serde_json::json!({ "access_token": "SECRETSECRET", "sync_timeout": "SECRET" });
        let Err(error) = MatrixFactory.create(wrong).await else { panic!("it is wrong") };
        assert!(!error.to_string().contains("SECRET"), "{error}");
    }
}
