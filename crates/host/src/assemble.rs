//! Puts a host together from its parts.

mod left_out;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use connector_engine::instance::Instance;
use connector_engine::transcript::Transcripts;
use connector_engine::{Engine, Setup};
use connector_files::Redactor;
use connector_gate::clock::Clock;
use connector_gate::people;
use connector_gate::policy::{GateConfig, Terms};
use connector_ledger::lock::HostLock;
use connector_ledger::{Ledger, LedgerError};
use connector_rules::{Diagnostics, Rule, RuleSet, SourceFile};
use connector_surface::Surface;
use connector_surface::log::COMMAND_LINE;
use secrecy::{ExposeSecret, SecretString};

use crate::view::ViewsOfHost;
use crate::{console, git};

pub use left_out::usable_rules;

/// How long a dispatched step may take unless configured otherwise.
pub const DEADLINE: Duration = Duration::from_hours(1);

/// How many steps run at once unless configured otherwise.
pub const MAX_RUNNING: usize = 4;

/// The rules that come with the host: `/fix` and `/continue`.
const BUILT_IN: [(&str, &str); 2] = [
    ("built-in fix.toml", include_str!("../rules/fix.toml")),
    ("built-in continue.toml", include_str!("../rules/continue.toml")),
];

/// Why rules could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The directory or a file cannot be read.
    #[error("the rules in {} cannot be read", .path.display())]
    Read {
        /// The directory or file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No rule is there.
    #[error("there is no rule in {}: no file ends in .toml", .0.display())]
    None(std::path::PathBuf),
    /// Something is wrong in the files.
    #[error("the rules have mistakes; nothing was loaded\n{}", .0.render(false))]
    Mistakes(Diagnostics),
}

/// The built-in rules, for messages of `connector`.
pub fn built_in_rules(connector: &str) -> Result<RuleSet, RulesError> {
    let files =
        BUILT_IN.map(|(name, text)| SourceFile::new(name, text.replace("connector-console", connector)));
    RuleSet::parse(files).map_err(RulesError::Mistakes)
}

/// Every `*.toml` in `directory`, in the order of their names.
pub fn rules_in(directory: &Path) -> Result<RuleSet, RulesError> {
    let files = rule_files(directory)?;
    RuleSet::parse(files).map_err(RulesError::Mistakes)
}

/// Every `*.toml` in `directory`, in the order of their names.
pub fn rule_paths(directory: &Path) -> Result<Vec<PathBuf>, RulesError> {
    let entries = std::fs::read_dir(directory).map_err(cannot(directory))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(cannot(directory))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        return Err(RulesError::None(directory.to_owned()));
    }
    Ok(paths)
}

fn cannot(path: &Path) -> impl FnOnce(std::io::Error) -> RulesError + use<> {
    let path = path.to_owned();
    move |source| RulesError::Read { path, source }
}

/// Their texts.
pub fn rule_files(directory: &Path) -> Result<Vec<SourceFile>, RulesError> {
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).map_err(cannot(&path))?;
        Ok(SourceFile::new(path.display().to_string(), text))
    };
    rule_paths(directory)?.into_iter().map(read).collect()
}

/// Where terms count persons and rest on accounts that may be one person's, in words: the gate's own,
/// and those of rules that say otherwise.
pub fn doubtful_people(rules: &RuleSet, gate: &GateConfig) -> Vec<String> {
    let own = Terms {
        approvers: gate.approvers.clone(),
        needed: gate.approvals_needed,
        other: gate.require_other_approver,
        people: gate.people.clone(),
    };
    let of_rule = |rule: &Arc<Rule>| {
        let terms = Terms::of(rule, gate);
        if terms == own { None } else { people::warning(&format!("rule {}", rule.name()), &terms) }
    };
    people::warning("gate", &own).into_iter().chain(rules.rules().iter().filter_map(of_rule)).collect()
}

/// What differs from one host to another.
pub struct Parts {
    /// The rules.
    pub rules: RuleSet,
    /// Connector instances.
    pub instances: Vec<Instance>,
    /// Surfaces.
    pub surfaces: Vec<Arc<dyn Surface>>,
    /// The names of those whose users are this machine's own, and could as well call a daemon themselves. Everybody else
    /// is remote. By default they are `console` and `cli`, the host's own two, so a surface that others reach has another
    /// name, or they are taken out here. One state directory has the same local surfaces at each start.
    pub local: BTreeSet<String>,
    /// The gate.
    pub gate: GateConfig,
    /// How long a dispatched step may take.
    pub deadline: Duration,
    /// How many steps run at once.
    pub max_running: usize,
    /// What no transcript may hold.
    pub secrets: Vec<SecretString>,
}

/// Those of a host without rules, connectors and surfaces, where nobody may approve anything.
impl Default for Parts {
    fn default() -> Self {
        Self {
            rules: RuleSet::default(),
            instances: Vec::new(),
            surfaces: Vec::new(),
            local: [console::NAME, COMMAND_LINE].map(str::to_owned).into(),
            gate: GateConfig::default(),
            deadline: DEADLINE,
            max_running: MAX_RUNNING,
            secrets: Vec::new(),
        }
    }
}

/// An engine on the state directory `state`, which must have no other host.
pub fn engine(state: &Path, clock: Clock, parts: Parts) -> Result<Engine, LedgerError> {
    let ledger = Ledger::open(state, clock.clone())?;
    let lock = HostLock::take(state)?;
    let mut redactor = Redactor::default();
    for secret in &parts.secrets {
        redactor.add_password(opencode_api::USER, secret.expose_secret());
    }
    let transcripts = Transcripts::new(state, redactor);
    Ok(Engine::new(Setup {
        ledger,
        transcripts,
        lock,
        clock,
        rules: parts.rules,
        instances: parts.instances,
        surfaces: parts.surfaces,
        local: parts.local,
        button_connectors: BTreeSet::from([git::NAME.to_owned()]),
        views: Arc::new(ViewsOfHost),
        gate: parts.gate,
        deadline: parts.deadline,
        max_running: parts.max_running,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_and_the_command_line_alone_are_this_machines_own() {
        assert_eq!(Parts::default().local, BTreeSet::from(["cli", "console"].map(str::to_owned)));
    }
}
