//! Telegram as `[surfaces.telegram]` describes it: the surface, and the connector for its rules.

use std::sync::Arc;

use connector_contract::{ConnectorError, ConnectorFactory as _, chain};
use connector_engine::instance::{Fixed, Instance, Ready, grant};
use connector_gate::clock::Clock;
use connector_rules::CatalogConnector;
use connector_telegram::update::Allow;
use connector_telegram::{Config, Settings, TelegramFactory};
use opencode_daemons::Environment;
use serde_json::{Map, Value, json};

use super::PlanError;
use super::plan::Described;
use super::registry::SurfaceParts;
use crate::catalog::{self, Reach};
use crate::config::{self, SurfaceSection};
use crate::telegram::Telegram;

/// Has the form of a bot's token, for where the real one is not set.
const STAND_IN: &str = "1:not-a-token-not-a-token";

/// Makes the surface and the connector.
pub(super) fn make(given: &SurfaceSection) -> Result<SurfaceParts, PlanError> {
    let settings = settings(given)?;
    if settings.allow.users.is_empty() && settings.allow.chats.is_empty() {
        tracing::warn!("allow_users and allow_chats are empty: nobody's messages come in");
    }
    let fault = |error: ConnectorError| about(&chain(&error));
    let name = given.connector(connector_telegram::NAME);
    let surface = Telegram::new(settings.clone(), name, Clock::System).map_err(fault)?;
    let connector = surface.connector();
    let http = grant(connector.as_ref(), &settings.origin, settings.reach).map_err(fault)?;
    let instance = Instance {
        name: name.to_owned(),
        workspace: None,
        described: connector.clone(),
        provider: Arc::new(Fixed(Ready { connector, http })),
    };
    Ok(SurfaceParts { surface: Arc::new(surface), instance })
}

/// Whether a host could be started with it.
pub(super) fn check(given: &SurfaceSection) -> Result<(), PlanError> {
    settings(given).map(drop)
}

/// Whether it may write to a chat that did not ask.
pub(super) fn admits(given: &SurfaceSection, chat: &str) -> Result<(), String> {
    let config: Config = connector_contract::decode(Value::Object(given.config.clone()))?;
    let allow = Allow {
        users: config.allow_users.into_iter().collect(),
        chats: config.allow_chats.into_iter().collect(),
    };
    crate::telegram::admits(&allow, chat)
}

/// What its connector declares. Its messages have the fields of any chat's.
pub(super) fn declared(given: Option<&SurfaceSection>) -> CatalogConnector {
    let factory = TelegramFactory;
    let reach = given.map_or(Reach::Anybody, |given| admitted(&given.config));
    let (actions, triggers) = (factory.action_declarations(), factory.trigger_declarations());
    let mut connector = catalog::declared(&actions, &triggers, reach);
    let bare = connector.triggers.iter_mut().filter(|trigger| trigger.payload_schema.is_null());
    for trigger in bare {
        if trigger.name != "callback_query_received" {
            trigger.payload_schema = catalog::message();
            if trigger.name == "files_received" {
                trigger.payload_schema["properties"]["files"] = json!({ "type": "array" });
            }
        }
    }
    connector
}

/// Whom it lets in: anybody in the chats that are allowed, whatever users are besides.
fn admitted(config: &Map<String, Value>) -> Reach {
    let chats = config.get("allow_chats").and_then(Value::as_array);
    if chats.is_some_and(|chats| !chats.is_empty()) { Reach::Anybody } else { Reach::Admitted }
}

/// Its connector's instance, which cannot be called and needs no token.
pub(super) async fn described(
    given: &SurfaceSection,
    environment: &Environment,
) -> Result<Instance, PlanError> {
    let mut settings = given.config.clone();
    if config::resolve_surface(&mut settings, environment).is_err() {
        let unset = settings.values_mut().filter(|value| config::is_reference(value));
        unset.for_each(|value| *value = json!(STAND_IN));
    }
    let connector = TelegramFactory.create(Value::Object(settings)).await;
    let connector = connector.map_err(|error| about(&chain(&error)))?;
    Ok(Described::plain(connector.into()).instance(given.connector(connector_telegram::NAME), None))
}

fn settings(given: &SurfaceSection) -> Result<Settings, PlanError> {
    let mut map = given.config.clone();
    config::resolve_surface(&mut map, &Environment::of_this_process())
        .map_err(|error| about(&chain(&error)))?;
    let config: Config = connector_contract::decode(Value::Object(map)).map_err(|reason| about(&reason))?;
    config.check().map_err(|error| about(&chain(&error)))
}

fn about(reason: &str) -> PlanError {
    PlanError(format!("[surfaces.telegram]: {reason}"))
}
