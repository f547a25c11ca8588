//! The model that opencode's own configuration names, for people to know before anything runs.
//!
//! Read as opencode reads it: JSON with comments and trailing commas, the workspace's files over the
//! user's, what the host lays over both, and before all the agent's own model. Nothing else of these files
//! is kept, and nothing of them is quoted.

mod files;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use connector_contract::{Target, facts};
use connector_gate::digest::TOLD;
use opencode_daemons::pool::WorkspaceConfig;
use opencode_daemons::project::Project;
use opencode_daemons::{Environment, PoolConfig};
use serde_json::{Value, json};

use files::Layer;

/// The keys of a target's settings that [`line`] reads.
pub(crate) const MODEL: &str = "model";
pub(crate) const FROM: &str = "model_from";

/// The agent of a prompt that names none, where the configuration names none either.
const BUILD: &str = "build";

/// What opencode does where nothing names a model.
const CHOOSES: &str = "opencode takes a default of its own, which may be one in a cloud";

/// What opencode's configuration says of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// It names one.
    Model {
        /// `provider/model`.
        model: String,
        /// What does.
        by: By,
    },
    /// It names none: opencode chooses, among what it is logged in to or what it has for nothing in a cloud.
    None,
    /// It names one in another way than plainly.
    Unclear(By),
    /// A file of it cannot be read, so that opencode would not start.
    Invalid {
        /// The file.
        file: PathBuf,
        /// Where the mistake is, if that is known.
        at: String,
    },
}

/// What names a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// The host, which lays it over the configuration.
    Host,
    /// This file.
    File(PathBuf),
    /// What this agent says of itself; one without a name is that of the task.
    Agent(String),
    /// The configuration, as its daemon tells.
    Daemon,
}

/// Where the daemon of a workspace finds opencode's configuration.
#[derive(Debug, Clone)]
pub struct Source {
    environment: Environment,
    /// The workspace, if what it brings acts, and whether as a copy.
    project: Option<(PathBuf, bool)>,
    /// What the host lays over it.
    given: Value,
}

impl Source {
    /// That of a daemon of `pool` in `workspace`; of the user alone where there is none.
    pub fn of(environment: Environment, pool: &PoolConfig, workspace: Option<&WorkspaceConfig>) -> Self {
        let nowhere = WorkspaceConfig::default();
        let project = workspace.and_then(|workspace| {
            let directory = workspace.directory.to_path_buf();
            match pool.project("", workspace, Path::new("")) {
                Project::AsFound => Some((directory, false)),
                Project::Copied(_) => Some((directory, true)),
                Project::Ignored => None,
            }
        });
        Self { environment, project, given: pool.opencode_config(workspace.unwrap_or(&nowhere)) }
    }

    /// The model of a prompt to `agent`, or to the one that is used when none is named.
    pub fn named(&self, agent: Option<&str>) -> Named {
        let mut layers = match files::read(&self.environment, self.project.as_ref()) {
            Ok(layers) => layers,
            Err((file, at)) => return Named::Invalid { file, at },
        };
        layers.push(Layer::given(self.given.clone()));
        let last = |of: &dyn Fn(&Layer) -> Option<Value>| {
            layers.iter().rev().find_map(|layer| Some((of(layer)?, layer.file.clone())))
        };
        let chosen = last(&|layer| layer.setting("default_agent"));
        let chosen = chosen.as_ref().and_then(|(name, _)| name.as_str());
        let agent = agent.or(chosen).unwrap_or(BUILD);
        if let Some((model, _)) = last(&|layer| layer.of_agent(agent)) {
            return Named::of(&model, By::Agent(agent.to_owned()));
        }
        match last(&|layer| layer.setting(MODEL)) {
            Some((model, file)) => Named::of(&model, file.map_or(By::Host, By::File)),
            None => Named::None,
        }
    }

    /// `target` with the model that a task there runs with, unless it names one itself.
    pub fn tell(&self, mut target: Target, input: &Value) -> Target {
        if target.settings.contains_key(MODEL) {
            return target;
        }
        let agent = target.settings.get("agent").and_then(Value::as_str).map(str::to_owned);
        let named = self.named(agent.as_deref());
        let (model, from) = named.told(goes_on(input));
        target.settings.extend(model.map(|model| (MODEL.to_owned(), json!(model))));
        target.settings.extend(from.map(|from| (FROM.to_owned(), json!(from))));
        target
    }
}

/// Whether an input goes on in a session, which has the model of its last prompt.
pub(crate) fn goes_on(input: &Value) -> bool {
    facts::session_of(input).is_some()
}

/// Whether `key` of a target's settings is told by [`line`].
pub fn tells(key: &str) -> bool {
    key == FROM || key == MODEL
}

/// The model of a target, in one line.
pub fn line(settings: &BTreeMap<String, Value>) -> String {
    let text = |key: &str| {
        let value = settings.get(key).or_else(|| settings.get(TOLD)?.get(key))?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    match (text(MODEL), text(FROM)) {
        (Some(model), Some(from)) if settings.contains_key(FROM) || !settings.contains_key(MODEL) => {
            format!("{model} ({from})")
        }
        (Some(one), _) | (None, Some(one)) => one,
        (None, None) => "not named: the daemon's default, which may be one in a cloud".to_owned(),
    }
}

impl Named {
    /// What a configuration's `model` names, which is a text or, in 2.x, its two halves.
    fn of(model: &Value, by: By) -> Self {
        let half = |keys: [&str; 2]| keys.into_iter().find_map(|key| model.get(key)?.as_str());
        let text = match (model.as_str(), half(["providerID", "provider"]), half(["model", "id"])) {
            (Some(text), ..) => Some(text.to_owned()),
            (None, Some(provider), Some(model)) => Some(format!("{provider}/{model}")),
            _ => None,
        };
        match text.filter(|model| is_one(model)) {
            Some(model) => Self::Model { model, by },
            None => Self::Unclear(by),
        }
    }

    /// The model itself and where it is from, as far as each is known.
    pub(crate) fn told(self, goes_on: bool) -> (Option<String>, Option<String>) {
        // An agent's own goes before what its session had last.
        let goes_on = goes_on && !matches!(&self, Self::Model { by: By::Agent(_), .. });
        let (model, from) = match self {
            Self::Model { model, by: By::Host } => (Some(model), None),
            Self::Model { model, by: By::File(_) | By::Daemon } => {
                (Some(model), Some("opencode's configuration".to_owned()))
            }
            Self::Model { model, by: By::Agent(name) } if name.is_empty() => {
                (Some(model), Some("the agent's own".to_owned()))
            }
            Self::Model { model, by: By::Agent(name) } => (Some(model), Some(format!("agent {name}'s own"))),
            Self::None => (None, Some(format!("none configured: {CHOOSES}"))),
            other => (None, Some(other.to_string())),
        };
        if !goes_on {
            return (model, from);
        }
        let otherwise = match (model, from) {
            (Some(model), Some(from)) => format!("{model} ({from})"),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => String::new(),
        };
        (None, Some(format!("its session's, or else {otherwise}")))
    }
}

/// Whether it has the form of one: anything else is not shown.
fn is_one(model: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@+".contains(c);
    model.contains('/') && model.len() <= 200 && model.chars().all(plain)
}

/// In words for people, when the host names no model itself.
impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Model { model, by: By::Host } => f.write_str(model),
            Self::Model { model, by } => write!(f, "{model}, by {by}"),
            Self::None => write!(
                f,
                "none is named: {CHOOSES}; name one in [routing] model, with --model, or in opencode's configuration"
            ),
            Self::Unclear(by) => write!(f, "one that is not written plainly, by {by}"),
            Self::Invalid { file, at } => {
                write!(f, "opencode's configuration {} is not valid: {at}", file.display())
            }
        }
    }
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host => f.write_str("the host's configuration"),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Agent(name) if name.is_empty() => f.write_str("the agent's own configuration"),
            Self::Agent(name) => write!(f, "agent {name}'s own configuration"),
            Self::Daemon => f.write_str("opencode's configuration"),
        }
    }
}

#[cfg(test)]
mod tests;
