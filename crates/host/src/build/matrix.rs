//! Matrix as `[surfaces.matrix]` describes it: the surface, and the connector for its rules.

use std::sync::Arc;

use connector_contract::{ConnectorError, ConnectorFactory as _, chain};
use connector_engine::instance::{Fixed, Instance, Ready, grant};
use connector_matrix::{Config, Matrix, MatrixFactory, Settings};
use connector_rules::CatalogConnector;
use opencode_daemons::Environment;
use serde_json::{Map, Value, json};

use super::PlanError;
use super::plan::Described;
use super::registry::SurfaceParts;
use crate::catalog::{self, Reach};
use crate::config::{self, SurfaceSection};

/// Has the form of an access token, for where the real one is not set.
const STAND_IN: &str = "not-a-token-not-a-token";

/// Makes the surface and the connector.
pub(super) fn make(given: &SurfaceSection) -> Result<SurfaceParts, PlanError> {
    let settings = settings(given)?;
    if settings.allow.users.is_empty() && settings.allow.rooms.is_empty() {
        tracing::warn!("allow_users and allow_rooms are empty: nobody's messages come in");
    }
    let fault = |error: ConnectorError| about(&chain(&error));
    let name = given.connector(connector_matrix::NAME);
    let surface = Matrix::new(settings.clone(), name).map_err(fault)?;
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
    let mut map = given.config.clone();
    // What is not set here names no room.
    let _ = config::resolve_environment(&mut map, &Environment::of_this_process());
    let config: Config = connector_contract::decode(Value::Object(map))?;
    config.allow().map_err(|error| chain(&error))?.names(chat)
}

/// What its connector declares.
pub(super) fn declared(given: Option<&SurfaceSection>) -> CatalogConnector {
    let factory = MatrixFactory;
    let reach = given.map_or(Reach::Anybody, |given| admitted(&given.config));
    catalog::declared(&factory.action_declarations(), &factory.trigger_declarations(), reach)
}

/// Whom it lets in: anybody in the rooms that are allowed, whatever users are besides.
fn admitted(config: &Map<String, Value>) -> Reach {
    let rooms = config.get("allow_rooms").and_then(Value::as_array);
    if rooms.is_some_and(|rooms| !rooms.is_empty()) { Reach::Anybody } else { Reach::Admitted }
}

/// Its connector's instance, which cannot be called and needs no token.
pub(super) async fn described(
    given: &SurfaceSection,
    environment: &Environment,
) -> Result<Instance, PlanError> {
    let mut settings = given.config.clone();
    if config::resolve_environment(&mut settings, environment).is_err() {
        let unset = |value: &&mut Value| value.as_str().is_some_and(|text| text.starts_with("env:"));
        settings.values_mut().filter(unset).for_each(|value| *value = json!(STAND_IN));
    }
    let connector = MatrixFactory.create(Value::Object(settings)).await;
    let connector = connector.map_err(|error| about(&chain(&error)))?;
    Ok(Described::plain(connector.into()).instance(given.connector(connector_matrix::NAME), None))
}

fn settings(given: &SurfaceSection) -> Result<Settings, PlanError> {
    let mut map = given.config.clone();
    config::resolve_environment(&mut map, &Environment::of_this_process())
        .map_err(|error| about(&chain(&error)))?;
    let config: Config = connector_contract::decode(Value::Object(map)).map_err(|reason| about(&reason))?;
    config.check().map_err(|error| about(&chain(&error)))
}

fn about(reason: &str) -> PlanError {
    PlanError(format!("[surfaces.matrix]: {reason}"))
}
