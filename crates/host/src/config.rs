//! `host.toml`: what a host without a terminal is made of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use connector_plugins::package::{PackageGrant, PluginName, Trust};
use opencode_daemons::pool::WorkspaceConfig;
use opencode_daemons::{Environment, PoolConfig};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::engine::ScheduleChat;
use crate::gate::policy::GateConfig;
use crate::managed;
use crate::managed::config::Routing;

/// The whole file. Unknown keys are errors.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// The directory of rules, relative to the file.
    pub rules: PathBuf,
    /// How long a dispatched step may take, in seconds.
    #[serde(default = "hour")]
    pub deadline_secs: u64,
    /// How many steps run at once.
    #[serde(default = "four")]
    pub max_running: usize,
    /// The gate.
    #[serde(default)]
    pub gate: GateConfig,
    /// Where the runs of schedules report to.
    #[serde(default)]
    pub schedules: ScheduleChat,
    /// Directories whose daemons the host starts.
    #[serde(default)]
    pub workspaces: BTreeMap<String, WorkspaceConfig>,
    /// Connector instances by the names rules use.
    pub connectors: BTreeMap<String, Instance>,
    /// Where people meet the host, besides the command line.
    #[serde(default)]
    pub surfaces: Surfaces,
    /// The daemons: how many, how they start and end, what they may do; or just the binary's path.
    #[serde(default, deserialize_with = "managed::config::opencode")]
    pub opencode: PoolConfig,
    /// Which model does what.
    #[serde(default)]
    pub routing: Routing,
    /// What packages of connectors were granted, by their names.
    #[serde(default)]
    pub plugins: BTreeMap<PluginName, PackageGrant>,
    /// Whose signatures on packages count.
    #[serde(default)]
    pub plugin_trust: Trust,
    /// The directory of packages, relative to the file.
    #[serde(default = "plugins")]
    pub plugins_dir: PathBuf,
}

/// The surfaces of a host without a terminal.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Surfaces {
    /// Telegram.
    pub telegram: Option<TelegramSurface>,
}

/// Telegram as a surface, and as the connector behind it.
#[derive(Debug, Clone, Deserialize)]
pub struct TelegramSurface {
    /// The name rules know its messages and actions by.
    #[serde(default = "telegram")]
    pub connector: String,
    /// The connector's own configuration.
    #[serde(flatten)]
    pub config: Map<String, Value>,
}

/// A connector and its configuration.
#[derive(Debug, Clone, Deserialize)]
pub struct Instance {
    /// The connector; the instance's own name when absent.
    #[serde(rename = "use", default)]
    pub connector: Option<String>,
    /// The workspace whose daemon it drives, in place of a `base_url`.
    #[serde(default)]
    pub workspace: Option<String>,
    /// Whether it may leave this machine.
    #[serde(default)]
    pub allow_remote: bool,
    /// The connector's own configuration.
    #[serde(flatten)]
    pub config: Map<String, Value>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{} cannot be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not what a host takes; the source has line and column.
    #[error("{} is not a host's configuration", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: toml::de::Error,
    },
    /// A value refers to what is not there.
    #[error("{0}")]
    Reference(String),
}

impl HostConfig {
    /// Reads the file. Relative paths in it start at its own directory.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let mut config: Self =
            toml::from_str(&text).map_err(|source| ConfigError::Syntax { path: path.to_owned(), source })?;
        let base = path.parent().unwrap_or_else(|| Path::new("."));
        config.rules = base.join(&config.rules);
        config.plugins_dir = base.join(&config.plugins_dir);
        for workspace in config.workspaces.values_mut() {
            workspace.directory = base.join(&workspace.directory);
        }
        Ok(config)
    }
}

/// Replaces each `env:VAR` by the variable's value, so that no secret stands in
/// the file.
pub fn resolve_environment(
    config: &mut Map<String, Value>,
    environment: &Environment,
) -> Result<(), ConfigError> {
    for (key, value) in config.iter_mut() {
        let Some(name) = value.as_str().and_then(|text| text.strip_prefix("env:")) else { continue };
        let found = environment.get(name).and_then(|found| found.to_str());
        let Some(found) = found else {
            return Err(ConfigError::Reference(format!(
                "`{key}` wants the environment variable {name}, which is not set"
            )));
        };
        *value = Value::String(found.to_owned());
    }
    Ok(())
}

fn telegram() -> String {
    connector_telegram::NAME.to_owned()
}

fn plugins() -> PathBuf {
    "plugins".into()
}

fn hour() -> u64 {
    3600
}

fn four() -> usize {
    4
}
