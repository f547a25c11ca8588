//! Which connector an instance of `host.toml` uses: one that is built in, or that of a package.
//!
//! A package is admitted before it is an instance: its files must be those that were granted, and
//! it may ask for nothing else. Its launcher compares the executable with the same digest again,
//! whenever a process is started. Nothing here starts one.

use std::sync::Arc;

use connector_contract::{Grant, OutboundHttp, Reach, chain};
use connector_engine::instance::{Fixed, Instance, Ready};
use connector_files::Log;
use connector_plugins::Packaged;
use connector_plugins::package::{Granted, Package, PluginName};

use super::registry::{ConnectorEntry, Registry};
use crate::config::{self, HostConfig};
use crate::git;
use crate::isolation::{ConnectorIsolation, launcher};

/// What `use` says before the name of a package.
const PREFIX: &str = "plugin:";

/// What an instance uses.
pub enum Used {
    /// A connector that this binary contains.
    BuiltIn(&'static ConnectorEntry),
    /// A package that may run.
    Package(Box<Granted>),
}

/// Why an instance uses nothing: words for people, which name the instance.
#[derive(Debug, thiserror::Error)]
#[error("[connectors.{instance}]: {reason}")]
pub struct UseError {
    instance: String,
    reason: String,
}

/// What the instance `name` of `config` uses. A package is read and admitted, and not run.
pub fn used(
    registry: &Registry,
    config: &HostConfig,
    (name, given): (&str, &config::Instance),
) -> Result<Used, UseError> {
    let refused = |reason: String| UseError { instance: name.to_owned(), reason };
    let wanted = given.connector.as_deref().unwrap_or(name);
    let package = wanted.strip_prefix(PREFIX).unwrap_or(wanted);
    let granted = config.plugins.keys().any(|granted| granted.as_str() == package);
    let of_package = granted || package != wanted;
    if of_package && registry.is_reserved(package) {
        return Err(refused(format!("`{package}` is built in; no package takes its name")));
    }
    if name == git::NAME {
        return Err(refused(format!("`{name}` is there for every workspace; take the section out")));
    }
    if let Some(entry) = registry.connector(wanted) {
        return Ok(Used::BuiltIn(entry));
    }
    if !of_package {
        return Err(refused(format!(
            "there is no connector `{wanted}`; there is: {}, and what [plugins.NAME] grants",
            registry.names()
        )));
    }
    if registry.is_reserved(name) {
        return Err(refused(format!(
            "an instance called `{name}` is of the built-in connector; name it otherwise"
        )));
    }
    let package: PluginName = package.parse().map_err(|error| refused(format!("`{wanted}`: {error}")))?;
    admitted(config, &package).map(|granted| Used::Package(Box::new(granted))).map_err(refused)
}

fn admitted(config: &HostConfig, name: &PluginName) -> Result<Granted, String> {
    let package = Package::open(&config.plugins_dir, name).map_err(|error| chain(&error))?;
    let granted = package.admit(config.plugins.get(name), &config.plugin_trust);
    granted.map_err(|refused| format!("{refused}; see `plugins list`"))
}

/// The instance `name` of a package, with its configuration, its secrets filled in.
///
/// What its process says is kept in `said`.
pub fn instance(
    name: &str,
    given: config::Instance,
    package: &Granted,
    said: Option<Log>,
) -> Result<Instance, UseError> {
    let refused = |reason: String| UseError { instance: name.to_owned(), reason };
    if given.workspace.is_some() {
        return Err(refused("a package drives no workspace's daemon; leave `workspace` out".to_owned()));
    }
    if given.isolation == ConnectorIsolation::InProcess {
        return Err(refused("a package runs in a process of its own; leave `isolation` out".to_owned()));
    }
    let of_package = |reason: String| refused(format!("the package `{}`: {reason}", package.name()));
    let packaged = Packaged::new(package, given.config, launcher(), said);
    let packaged = packaged.map_err(|error| of_package(error.to_string()))?;
    let reach = if given.allow_remote { Reach::Remote } else { Reach::Loopback };
    let grants = packaged.origins.into_iter().map(|origin| Grant::new(origin, reach));
    let grants = grants.collect::<Result<Vec<_>, _>>().map_err(|error| of_package(error.to_string()))?;
    let http = OutboundHttp::new(grants).map_err(|error| of_package(chain(&error)))?;
    let ready = Ready { connector: Arc::new(packaged.connector), http };
    let described = Arc::clone(&ready.connector);
    Ok(Instance { name: name.to_owned(), workspace: None, described, provider: Arc::new(Fixed(ready)) })
}

/// Why no package's process would start here, in words for people.
pub fn missing_walls() -> Option<String> {
    let held = connector_sandbox::kernel();
    (!held.is_whole()).then(|| format!("a package runs only where the kernel holds every wall: {held}"))
}
