//! `telegram`: from a token to a host that answers.

mod setup;

use std::sync::Arc;

use connector_contract::chain;
use connector_telegram::{Config, Settings};
use opencode_daemons::Environment;
use serde_json::Value;

use crate::clock::Clock;
use crate::config::{self, TelegramSurface};
use crate::exit::{Exit, Failure};
use crate::instance::{Fixed, Instance, Ready, grant};
use crate::telegram::Telegram as Surface;

/// `telegram`
#[derive(Debug, clap::Subcommand)]
pub(super) enum Telegram {
    /// Ask for a token, find out who you are, write host.toml, and send a test message
    Setup(setup::Setup),
}

impl Telegram {
    pub(super) async fn run(self, _common: &super::Common) -> Result<Exit, Failure> {
        match self {
            Self::Setup(setup) => setup.run().await,
        }
    }
}

/// The surface of a configuration, and the connector for its rules.
pub(super) struct Made {
    pub(super) surface: Surface,
    pub(super) instance: Instance,
}

/// Makes the surface of `[surfaces.telegram]`.
pub(super) fn surface(given: &TelegramSurface) -> Result<Made, Failure> {
    let settings = settings(given)?;
    if settings.allow.users.is_empty() && settings.allow.chats.is_empty() {
        tracing::warn!("allow_users and allow_chats are empty: nobody's messages come in");
    }
    let usage = |error: connector_contract::ConnectorError| Failure::usage(about(&chain(&error)));
    let surface = Surface::new(settings.clone(), &given.connector, Clock::System).map_err(usage)?;
    let connector = surface.connector();
    let http = grant(connector.as_ref(), &settings.origin, settings.reach).map_err(usage)?;
    let instance = Instance {
        name: given.connector.clone(),
        workspace: None,
        described: connector.clone(),
        provider: Arc::new(Fixed(Ready { connector, http })),
    };
    Ok(Made { surface, instance })
}

/// Whether a host could be started with it.
pub(super) fn check(given: &TelegramSurface) -> Result<(), Failure> {
    settings(given).map(drop)
}

fn settings(given: &TelegramSurface) -> Result<Settings, Failure> {
    let mut map = given.config.clone();
    config::resolve_environment(&mut map, &Environment::of_this_process())
        .map_err(|error| Failure::usage(about(&chain(&error))))?;
    let config: Config =
        connector_contract::decode(Value::Object(map)).map_err(|reason| Failure::usage(about(&reason)))?;
    config.check().map_err(|error| Failure::usage(about(&chain(&error))))
}

fn about(reason: &str) -> String {
    format!("[surfaces.telegram]: {reason}")
}
