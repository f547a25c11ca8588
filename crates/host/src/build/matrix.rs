//! Matrix as `[surfaces.matrix]` describes it: the surface, and the connector for its rules.

use std::sync::Arc;
use std::time::Duration;

use connector_contract::{ConnectorError, ConnectorFactory as _, chain};
use connector_engine::instance::{Fixed, Instance, Ready, grant};
use connector_matrix::examine::{Examined, examine};
use connector_matrix::{Config, Matrix, MatrixFactory, Settings};
use connector_rules::CatalogConnector;
use opencode_daemons::Environment;
use serde_json::{Map, Value, json};

use super::PlanError;
use super::plan::Described;
use super::registry::{Seen, SurfaceParts};
use crate::catalog::{self, Reach};
use crate::config::{self, SurfaceSection};

/// How long a look at the account may take.
const EXAMINING: Duration = Duration::from_secs(20);

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

/// How the bot's account and its rooms are.
pub(super) async fn examined(given: &SurfaceSection) -> Result<Vec<Seen>, PlanError> {
    let settings = settings(given)?;
    let examining = tokio::time::timeout(EXAMINING, examine(&settings)).await;
    let timely = examining.map_err(|_| about("the homeserver does not answer in time"))?;
    let Examined { open, encrypted, others, unseen } = timely.map_err(|error| about(&chain(&error)))?;
    let user = &settings.user;
    let in_rooms = match open.len() {
        0 => Seen::Doubtful(format!(
            "{user} is logged in, and in no room where it may speak; invite it to one without encryption"
        )),
        1 => Seen::Good(format!("{user} is logged in, and in 1 room where it may speak")),
        many => Seen::Good(format!("{user} is logged in, and in {many} rooms where it may speak")),
    };
    let mut seen = vec![in_rooms];
    let cannot_read =
        |room| Seen::Doubtful(format!("{room} is encrypted: nothing that is said there is read"));
    seen.extend(encrypted.into_iter().map(cannot_read));
    if others > 0 {
        let text = format!("neither `allow_users` nor `allow_rooms` lets it speak in {others} of its rooms");
        seen.push(Seen::Doubtful(text));
    }
    seen.extend((unseen > 0).then(|| Seen::Good(format!("{unseen} more rooms were not looked at"))));
    Ok(seen)
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
    if config::resolve_surface(&mut settings, environment).is_err() {
        let unset = settings.values_mut().filter(|value| config::is_reference(value));
        unset.for_each(|value| *value = json!(STAND_IN));
    }
    let connector = MatrixFactory.create(Value::Object(settings)).await;
    let connector = connector.map_err(|error| about(&chain(&error)))?;
    Ok(Described::plain(connector.into()).instance(given.connector(connector_matrix::NAME), None))
}

fn settings(given: &SurfaceSection) -> Result<Settings, PlanError> {
    let mut map = given.config.clone();
    config::resolve_surface(&mut map, &Environment::of_this_process())
        .map_err(|error| about(&chain(&error)))?;
    let config: Config = connector_contract::decode(Value::Object(map)).map_err(|reason| about(&reason))?;
    config.check().map_err(|error| about(&chain(&error)))
}

fn about(reason: &str) -> PlanError {
    PlanError(format!("[surfaces.matrix]: {reason}"))
}
