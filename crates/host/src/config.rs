//! `host.toml`: what a host without a terminal is made of.

mod api;
mod keys;
mod reference;
mod schema;
mod webhooks;

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use connector_engine::ScheduleChat;
use connector_files::{AbsolutePath, Base};
use connector_gate::people::{Accounts, People, PeopleError};
use connector_gate::policy::GateConfig;
use connector_ledger::steps::HOST;
use connector_plugins::package::{PackageGrant, PluginName, Trust};
use opencode_daemons::pool::WorkspaceConfig;
use opencode_daemons::{Environment, PoolConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::build::registry::STANDARD;
use crate::isolation::ConnectorIsolation;
use crate::managed;
use crate::managed::config::Routing;

pub use api::{ApiConfig, ClientName, Loopback};
pub use keys::{UnknownKey, unknown_keys};
pub use reference::{Explained, explain, reference};
pub use schema::schema;
pub use webhooks::{HookConfig, SecretSource, Verify, WebhooksConfig};

/// In seconds.
const WEEK: u64 = 7 * 24 * 60 * 60;

/// In seconds.
const YEAR: u64 = 365 * 24 * 60 * 60;

/// The whole file. Unknown keys are errors.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// The directory of rules, relative to the file.
    pub rules: AbsolutePath,
    /// How long a dispatched step may take, in seconds.
    #[serde(default = "hour")]
    pub deadline_secs: u64,
    /// How many steps run at once.
    #[serde(default = "four")]
    pub max_running: usize,
    /// What becomes of running steps when the host is stopped.
    #[serde(default)]
    pub on_stop: OnStop,
    /// The gate, and whose accounts there are.
    #[serde(default)]
    pub gate: GateConfig,
    /// The accounts of persons, as they are written; checked, they are `gate.people`.
    #[serde(default)]
    pub people: BTreeMap<String, Accounts>,
    /// Where the runs of schedules, of webhooks and of changed files report to.
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
    /// The HTTP API of a running host, for programs of this machine.
    #[serde(default)]
    pub api: ApiConfig,
    /// Requests from outside that fire rules.
    #[serde(default)]
    pub webhooks: WebhooksConfig,
    /// The daemons: how many, how they start and end, what they may do; or just the binary's path.
    #[serde(default, deserialize_with = "managed::config::opencode")]
    #[schemars(with = "PoolConfig")]
    pub opencode: PoolConfig,
    /// Which model does what.
    #[serde(default)]
    pub routing: Routing,
    /// What packages of connectors were granted, by their names.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, PackageGrant>")]
    pub plugins: BTreeMap<PluginName, PackageGrant>,
    /// Whose signatures on packages count.
    #[serde(default)]
    pub plugin_trust: Trust,
    /// The directory of packages, relative to the file.
    #[serde(default = "plugins")]
    #[schemars(extend("default" = "plugins"))]
    pub plugins_dir: AbsolutePath,
}

/// What becomes of running steps when the host is stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnStop {
    /// Those whose daemon goes on are left to the next start, and the others are cancelled.
    #[default]
    Leave,
    /// All of them are cancelled.
    Cancel,
}

/// The surfaces of a host without a terminal, by the names that the registry has them by.
#[derive(Debug, Clone, Default, JsonSchema)]
#[schemars(transparent)]
pub struct Surfaces(BTreeMap<String, SurfaceSection>);

/// A surface, and the connector behind it.
#[derive(Clone, Deserialize, JsonSchema)]
pub struct SurfaceSection {
    /// The name rules know its messages and actions by.
    #[serde(default)]
    connector: Option<String>,
    /// The connector's own configuration.
    #[serde(flatten)]
    #[schemars(skip)]
    pub config: Map<String, Value>,
}

/// Whatever else looks for unknown keys, a surface that there is not is never passed over in silence.
impl<'de> Deserialize<'de> for Surfaces {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sections = BTreeMap::<String, SurfaceSection>::deserialize(deserializer)?;
        let names: Vec<_> = STANDARD.surfaces.iter().map(|entry| entry.name).collect();
        match sections.keys().find(|name| !names.contains(&name.as_str())) {
            Some(name) => Err(serde::de::Error::custom(format!(
                "there is no surface `{name}`; there is {}",
                names.join(", ")
            ))),
            None => Ok(Self(sections)),
        }
    }
}

impl Surfaces {
    /// The section of the surface `name`.
    pub fn get(&self, name: &str) -> Option<&SurfaceSection> {
        self.0.get(name)
    }

    /// Gives each secret file that a setting names the path that it has from anywhere.
    fn locate(&mut self, base: &Base) {
        for value in self.0.values_mut().flat_map(|section| section.config.values_mut()) {
            if let Some(path) = file_of(value).and_then(|path| base.resolve(path)) {
                *value = format!("{FILE}{}", path.display()).into();
            }
        }
    }

    /// The files that hold secrets of theirs.
    pub fn secret_files(&self) -> impl Iterator<Item = &Path> {
        self.settings().flat_map(Map::values).filter_map(file_of).map(Path::new)
    }

    /// The settings of each.
    pub fn settings(&self) -> impl Iterator<Item = &Map<String, Value>> {
        self.0.values().map(|section| &section.config)
    }
}

impl SurfaceSection {
    /// The name of its connector, which is usually `usual`.
    pub fn connector<'a>(&'a self, usual: &'a str) -> &'a str {
        self.connector.as_deref().unwrap_or(usual)
    }
}

/// A connector and its configuration.
#[derive(Clone, Deserialize, JsonSchema)]
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
    /// Where its calls are performed.
    #[serde(default)]
    pub isolation: ConnectorIsolation,
    /// The connector's own configuration.
    #[serde(flatten)]
    #[schemars(skip)]
    pub config: Map<String, Value>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is none.
    #[error(
        "there is no {}; name the configuration with -c, write one as the README shows, \
         or let `connector-host telegram setup` or `matrix setup` write it",
        .path.display()
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("{} cannot be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not what a host takes. Neither the line nor a value is quoted: it may be a secret.
    #[error("{} is not a host's configuration: {place}: {reason}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, the column, and the key if there is one.
        place: String,
        /// Why.
        reason: String,
    },
    /// A number that cannot be meant.
    #[error("{}: `{key}` takes {takes}", .path.display())]
    Range {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What it takes.
        takes: String,
    },
    /// A connector has the name of something else.
    #[error("{}: [connectors.{name}]: `{name}` is the name of the host's own steps; choose another", .path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// The name.
        name: &'static str,
    },
    /// Somebody is not who they should be.
    #[error("{}: it is not clear whose accounts there are", .path.display())]
    People {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: PeopleError,
    },
    /// A value refers to what is not there.
    #[error("{0}")]
    Reference(String),
}

/// What a setting of a surface begins with that stands in a file of its own.
const FILE: &str = "file:";

/// The file that a setting names.
fn file_of(value: &Value) -> Option<&str> {
    value.as_str()?.strip_prefix(FILE).filter(|path| !path.is_empty())
}

/// What relative paths of the configuration at `path` start from: its directory.
pub fn base(path: &AbsolutePath) -> Base {
    let home = Environment::of_this_process().get("HOME").map(PathBuf::from);
    let directory = path.parent();
    let real = directory.canonicalize().ok().and_then(AbsolutePath::new);
    Base::new(real.unwrap_or(directory), home)
}

impl HostConfig {
    /// Reads the file. Relative paths in it start at its own directory, and `~` is the home directory.
    pub fn load(path: &AbsolutePath) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => ConfigError::Missing { path: path.to_path_buf() },
            _ => ConfigError::Read { path: path.to_path_buf(), source },
        })?;
        Self::parse(path, &text)
    }

    /// Reads `text` as what the file at `path` says, or is about to say.
    pub fn parse(path: &AbsolutePath, text: &str) -> Result<Self, ConfigError> {
        let base = base(path);
        let parsed: Result<Self, _> = base.reading(|| toml::from_str(text));
        // First of all, in the order of the file: also what the type does not know, which is a connector's.
        // A package that was granted the built-in connector's name is wrong in more than its keys.
        let granted =
            |config: &Self| config.plugins.keys().any(|name| STANDARD.connector(name.as_str()).is_some());
        let taken = parsed.as_ref().is_ok_and(granted);
        if let Some(unknown) = unknown_keys(text).first().filter(|_| !taken) {
            return Err(misspelt(path, text, unknown));
        }
        let mut config = parsed.map_err(|error| ConfigError::Syntax {
            path: path.to_path_buf(),
            place: place(text, error.span().map_or(0, |span| span.start)),
            reason: connector_contract::unquoted(error.message()),
        })?;
        config.check(path)?;
        config.surfaces.locate(&base);
        config.gate.people = People::parse(config.people.clone(), &STANDARD.accounts())
            .map_err(|source| ConfigError::People { path: path.to_path_buf(), source })?;
        // A name is looked up in PATH, a variable holds what it holds; a path is one of this file.
        if let Some(given) = config.opencode.path.as_mut().filter(|given| given.contains('/'))
            && !given.starts_with("env:")
            && let Some(resolved) = base.resolve(&*given)
        {
            *given = resolved.display().to_string();
        }
        Ok(config)
    }
}

impl HostConfig {
    /// No number may be one that stops the host or overflows a clock, and no name one that is the host's own.
    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let most_running = 10_000;
        for (key, value, range) in [
            ("max_running", self.max_running as u64, 1..=most_running),
            ("deadline_secs", self.deadline_secs, 1..=WEEK),
            ("gate.expiry_secs", self.gate.expiry_secs, 1..=YEAR),
            ("gate.session_allowance_secs", self.gate.session_allowance_secs, 0..=YEAR),
            ("webhooks.max_bytes", self.webhooks.max_bytes as u64, 1..=WebhooksConfig::MOST_BYTES),
            ("webhooks.tolerance_secs", self.webhooks.tolerance_secs, 1..=3_600),
            ("webhooks.repeat_secs", self.webhooks.repeat_secs, 1..=WEEK),
        ] {
            if !range.contains(&value) {
                let takes = format!("{} to {}", range.start(), range.end());
                return Err(ConfigError::Range { path: path.to_owned(), key, takes });
            }
        }
        // Its steps would stand in line with those that wait for their time.
        if self.connectors.contains_key(HOST) {
            return Err(ConfigError::Name { path: path.to_owned(), name: HOST });
        }
        Ok(())
    }
}

/// That nothing reads a key.
fn misspelt(path: &Path, text: &str, unknown: &UnknownKey) -> ConfigError {
    let place = place(text, unknown.span.start);
    ConfigError::Syntax { path: path.to_owned(), place, reason: unknown.to_string() }
}

/// The line and the column of the byte `at`, counted from 1.
pub fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// Where in `text` the byte `at` is, in words.
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let (line, column) = line_and_column(text, at);
    let whole = text[start..].lines().next().unwrap_or_default();
    let bare = |key: &str| key.bytes().all(|it| it.is_ascii_alphanumeric() || b"_-.".contains(&it));
    match whole.split_once('=').map(|(key, _)| key.trim()).filter(|key| !key.is_empty() && bare(key)) {
        Some(key) => format!("line {line}, column {column}, at `{key}`"),
        None => format!("line {line}, column {column}"),
    }
}

/// Shows the names of settings, and no value: one of them may be a secret.
fn names(config: &Map<String, Value>) -> Vec<&str> {
    config.keys().map(String::as_str).collect()
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("connector", &self.connector)
            .field("workspace", &self.workspace)
            .field("allow_remote", &self.allow_remote)
            .field("isolation", &self.isolation)
            .field("config", &names(&self.config))
            .finish()
    }
}

impl fmt::Debug for SurfaceSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (connector, config) = (&self.connector, names(&self.config));
        f.debug_struct("SurfaceSection").field("connector", connector).field("config", &config).finish()
    }
}

/// Replaces each `env:VAR` by the variable's value, at any depth, so that no secret stands in
/// the file. One that is not set is the error, and the others are replaced.
pub fn resolve_environment(
    config: &mut Map<String, Value>,
    environment: &Environment,
) -> Result<(), ConfigError> {
    let mut unset = None;
    for (key, value) in config.iter_mut() {
        resolve(key, value, environment, &mut unset);
    }
    unset.map_or(Ok(()), |reason| Err(ConfigError::Reference(reason)))
}

/// As [`resolve_environment`], of the settings of a surface, which may also be `file:PATH`: what stands in a file that nobody else
/// may read.
pub fn resolve_surface(
    config: &mut Map<String, Value>,
    environment: &Environment,
) -> Result<(), ConfigError> {
    let mut unread = None;
    for (key, value) in config.iter_mut() {
        let Some(path) = file_of(value).map(PathBuf::from) else { continue };
        match connector_connections::secret_file(&path) {
            Ok(secret) => *value = secret.trim_end_matches(['\r', '\n']).into(),
            Err(error) => {
                let why = connector_contract::chain(&error);
                unread.get_or_insert(format!("`{key}` is in {}: {why}", path.display()));
            }
        }
    }
    resolve_environment(config, environment)?;
    unread.map_or(Ok(()), |reason| Err(ConfigError::Reference(reason)))
}

/// Whether a setting names where its value is, and is not the value.
pub fn is_reference(value: &Value) -> bool {
    file_of(value).is_some() || value.as_str().is_some_and(|text| text.starts_with("env:"))
}

fn resolve(key: &str, value: &mut Value, environment: &Environment, unset: &mut Option<String>) {
    match value {
        Value::Object(fields) => {
            for (below, value) in fields.iter_mut() {
                resolve(&format!("{key}.{below}"), value, environment, unset);
            }
        }
        Value::Array(items) => {
            for item in items {
                resolve(key, item, environment, unset);
            }
        }
        Value::String(text) => {
            let Some(name) = text.strip_prefix("env:") else { return };
            if let Some(found) = environment.get(name).and_then(|found| found.to_str()) {
                *text = found.to_owned();
            } else {
                unset.get_or_insert(format!(
                    "`{key}` wants the environment variable {name}, which is not set"
                ));
            }
        }
        _ => {}
    }
}

fn plugins() -> AbsolutePath {
    AbsolutePath::of_base("plugins")
}

fn hour() -> u64 {
    3600
}

fn four() -> usize {
    4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_names_the_key_and_no_value() {
        let text = "a = 1\nbot_token = hunter2\n[x]\n";
        assert_eq!(place(text, 18), "line 2, column 13, at `bot_token`");
        assert_eq!(place(text, 0), "line 1, column 1, at `a`");
        assert_eq!(place(text, 26), "line 3, column 1");
        assert_eq!(place("hunter2 is = it", 3), "line 1, column 4");
        assert_eq!(place("", 9), "line 1, column 1");
    }

    #[test]
    fn variables_are_read_at_any_depth_and_one_that_is_not_set_hides_no_other() {
        let environment = Environment::default().with("SET", "value");
        let given = serde_json::json!({
            "a": "env:UNSET", "b": "env:SET", "c": { "d": ["env:SET", 1] }, "e": "set", "f": { "g": "env:UNSET_TOO" },
        });
        let mut config = given.as_object().unwrap().clone();
        let error = resolve_environment(&mut config, &environment).unwrap_err().to_string();
        assert_eq!(error, "`a` wants the environment variable UNSET, which is not set");
        assert_eq!(
            (&config["b"], &config["c"]["d"][0]),
            (&serde_json::json!("value"), &serde_json::json!("value"))
        );
        config.remove("a");
        let error = resolve_environment(&mut config, &environment).unwrap_err().to_string();
        assert!(error.starts_with("`f.g` wants"), "{error}");
    }

    #[test]
    fn a_surface_s_secret_may_stand_in_a_file_of_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let path = AbsolutePath::new(at("host.toml")).unwrap();
        let settings = |token: &str| {
            let text = format!("rules = \"r\"\n[connectors]\n[surfaces.telegram]\nbot_token = \"{token}\"\n");
            let config = HostConfig::parse(&path, &text).unwrap();
            let mut settings = config.surfaces.get("telegram").unwrap().config.clone();
            let resolved = resolve_surface(&mut settings, &Environment::default());
            (config, resolved.map(|()| settings["bot_token"].clone()).map_err(|error| error.to_string()))
        };
        for (mode, fine) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            std::fs::write(at("a.token"), "hunter2\n").unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(at("a.token"), mode).unwrap();
            let (config, resolved) = settings("file:a.token");
            assert_eq!(config.surfaces.secret_files().collect::<Vec<_>>(), [at("a.token")]);
            match resolved {
                Ok(token) => assert!(fine && token == "hunter2"),
                Err(error) => {
                    assert!(!fine && error.contains("chmod 600") && !error.contains("hunter2"), "{error}");
                }
            }
            std::fs::remove_file(at("a.token")).unwrap();
        }
        let unread = settings("file:b.token").1.unwrap_err();
        assert!(unread.contains("`bot_token` is in") && unread.contains("b.token"), "{unread}");
        assert_eq!(settings("file:").1.unwrap(), "file:");
    }

    #[test]
    fn debug_shows_no_value() {
        let text = "rules = \"r\"\n[connectors.oc]\npassword = \"hunter2\"\n[surfaces.telegram]\nbot_token = \"hunter2\"\n";
        let base = Base::new(AbsolutePath::default(), None);
        let config: HostConfig = base.reading(|| toml::from_str(text)).unwrap();
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2") && shown.contains("bot_token"), "{shown}");
    }
}
