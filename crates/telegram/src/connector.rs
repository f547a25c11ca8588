//! The plugin as a host sees it: three triggers, seven actions.

mod act;
mod input;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use connector_contract::{
    ActionDecl, ActionResult, Capability, Connector, ConnectorError, ConnectorFactory, Context, EventHandler,
    Manifest, Provenance, Subscription, Target, TriggerDecl,
};
use serde_json::Value;

use crate::config::{Config, Settings};

/// The connector's manifest, as it is in the repository.
pub const MANIFEST: &str = include_str!("../connector.toml");

/// Makes [`TelegramConnector`]s.
#[derive(Debug, Clone, Copy, Default)]
pub struct TelegramFactory;

/// A connector for one bot.
pub struct TelegramConnector {
    manifest: Manifest,
    settings: Settings,
    handlers: Mutex<HashMap<Subscription, EventHandler>>,
    next: AtomicU64,
}

impl TelegramConnector {
    /// A connector for checked settings. Does no I/O.
    pub fn new(settings: Settings) -> Result<Self, ConnectorError> {
        let mut manifest = embedded()?;
        manifest.capabilities = vec![Capability::outbound_to(&settings.origin)];
        Ok(Self { manifest, settings, handlers: Mutex::default(), next: AtomicU64::new(1) })
    }

    /// Hands the payload of an event to whoever registered for its trigger.
    pub fn emit(&self, trigger: &str, payload: &Value) {
        let handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, handler) in handlers.iter().filter(|(subscription, _)| subscription.trigger == trigger) {
            handler(payload.clone());
        }
    }
}

impl std::fmt::Debug for TelegramConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TelegramConnector").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn embedded() -> Result<Manifest, ConnectorError> {
    Manifest::parse(MANIFEST).map_err(|error| ConnectorError::InvalidConfig {
        reason: format!("connector.toml: {}", connector_contract::chain(&error)),
    })
}

#[async_trait]
impl Connector for TelegramConnector {
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
            result = act::execute(&api, action, input) => result,
            () = ctx.cancel.cancelled() => Err(act::cut_off("cancelled while it was sent")),
            () = tokio::time::sleep_until(ctx.deadline) => Err(act::cut_off("the deadline passed while it was sent")),
        }
    }

    fn target(&self, _action: &str, _input: &Value, _provenance: &Provenance) -> Target {
        let mut target = Target::at(&self.settings.origin);
        target.settings.insert("bot".to_owned(), self.settings.token.bot_id().into());
        target
    }

    async fn on_event(&self, trigger: &str, handler: EventHandler) -> Result<Subscription, ConnectorError> {
        if !self.manifest.triggers.iter().any(|known| known.name == trigger) {
            return Err(ConnectorError::InvalidInput {
                reason: format!("{} has no trigger `{trigger}`", crate::NAME),
            });
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let subscription = Subscription { trigger: trigger.to_owned(), id };
        let mut handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        handlers.insert(subscription.clone(), handler);
        Ok(subscription)
    }

    async fn remove_event(&self, subscription: &Subscription) -> Result<(), ConnectorError> {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner).remove(subscription);
        Ok(())
    }
}

#[async_trait]
impl ConnectorFactory for TelegramFactory {
    fn name(&self) -> &'static str {
        crate::NAME
    }

    fn config_key(&self) -> &'static str {
        "telegram"
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
        Ok(Box::new(TelegramConnector::new(config.check()?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_declares_what_is_carried_out() {
        let manifest = embedded().unwrap();
        let names: Vec<&str> = manifest.actions.iter().map(|action| action.name.as_str()).collect();
        assert_eq!(names, act::ACTIONS);
        assert!(manifest.actions.iter().all(|action| !action.read_only && action.input_schema.is_some()));
    }

    #[tokio::test]
    async fn a_wrong_configuration_does_not_show_the_token() {
        let wrong = serde_json::json!({ "bot_token": "42:SECRETSECRETSECRET", "poll_timeout": "SECRET" });
        let Err(error) = TelegramFactory.create(wrong).await else { panic!("it is wrong") };
        assert!(!error.to_string().contains("SECRET"), "{error}");
    }
}
