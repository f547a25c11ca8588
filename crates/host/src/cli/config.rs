//! `config`: what `host.toml` takes, and whether one is right.

use std::io::Write as _;
use std::path::Path;

use clap::Subcommand;
use connector_contract::chain;
use connector_engine::NoSurface;
use connector_engine::followers;
use connector_files::AbsolutePath;
use connector_surface::log::COMMAND_LINE;
use opencode_daemons::Environment;
use serde::Serialize;
use serde_json::Value;

use super::serve::{check_port, watched_places};
use super::{Common, path, webhooks};
use crate::build::packages::{self, Used};
use crate::build::registry::STANDARD;
use crate::build::{Planned, Unset};
use crate::config::{self, HostConfig, line_and_column, unknown_keys};
use crate::exit::{Exit, Failure};
use crate::webhook::Hook;
use crate::{assemble, managed, watch};

/// `config`
#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Report every misspelt key, or else what of the configuration and its rules would stop the host; nothing is started
    Check {
        /// The configuration [default: host.toml here, or else in your configuration directory]
        #[arg(short, long, value_name = "FILE", value_parser = path::absolute())]
        config: Option<AbsolutePath>,
    },
    /// Say what a key is for, what it takes, and what it is without it
    Explain {
        /// The key, such as `gate.expiry_secs` [default: list all keys at the top]
        #[arg(value_name = "KEY", default_value = "", hide_default_value = true)]
        key: String,
    },
    /// Print the JSON Schema of host.toml, for editors
    Schema,
    /// Print every key as Markdown
    Reference,
}

/// Something that is wrong.
#[derive(Debug, Serialize)]
struct Finding {
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    message: String,
}

impl Config {
    pub(super) async fn run(self, common: &Common) -> Result<Exit, Failure> {
        match self {
            Self::Check { config } => check(common, &path::config(config.as_ref())?).await,
            Self::Explain { key } => {
                let explained = config::explain(&key).map_err(Failure::usage)?;
                common.print(&explained, in_words)?;
                Ok(Exit::Done)
            }
            Self::Schema => {
                writeln!(anstream::stdout(), "{}", serde_json::to_string_pretty(config::schema())?)?;
                Ok(Exit::Done)
            }
            Self::Reference => {
                write!(anstream::stdout(), "{}", config::reference())?;
                Ok(Exit::Done)
            }
        }
    }
}

async fn check(common: &Common, file: &AbsolutePath) -> Result<Exit, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", file.display())))?;
    let mut findings = findings(file, &text).await;
    findings.extend(in_vain(file, &text, &common.state()?));
    let exit = if findings.is_empty() { Exit::Done } else { Exit::Failed };
    common.print(&findings, |findings| {
        let line = |finding: &Finding| match (finding.line, finding.column) {
            (Some(line), Some(column)) => format!("{}:{line}:{column}: {}", file.display(), finding.message),
            _ => finding.message.clone(),
        };
        match &findings[..] {
            [] => format!("{}: nothing is wrong", file.display()),
            found => found.iter().map(line).collect::<Vec<_>>().join("\n"),
        }
    })?;
    Ok(exit)
}

/// What the next start would not take of `file`, in words; nothing if it would.
pub(super) async fn faults(file: &AbsolutePath) -> Result<Option<String>, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", file.display())))?;
    let faults: Vec<String> = findings(file, &text).await.into_iter().map(|found| found.message).collect();
    Ok((!faults.is_empty()).then(|| faults.join("; ")))
}

/// Every key that nothing reads, or else what of the configuration and its rules would stop the host.
async fn findings(file: &AbsolutePath, text: &str) -> Vec<Finding> {
    let placed = |unknown: &config::UnknownKey| {
        let (line, column) = line_and_column(text, unknown.span.start);
        Finding { line: Some(line), column: Some(column), message: unknown.to_string() }
    };
    let unknown: Vec<Finding> = unknown_keys(text).iter().map(placed).collect();
    if !unknown.is_empty() {
        return unknown;
    }
    let plain = |message: String| Finding { line: None, column: None, message };
    let config = match HostConfig::parse(file, text) {
        Ok(config) => config,
        Err(error) => return vec![plain(chain(&error))],
    };
    let environment = Environment::of_this_process();
    let home = environment.get("HOME").map(Path::new);
    let pool = managed::config::pool(&config.opencode, &config.workspaces, home);
    let wrong = pool.check().err().map(|error| plain(chain(&error)));
    let ports = [("api", config.api.listen), ("webhooks", config.webhooks.listen)];
    let ports = ports.into_iter().filter_map(|(section, listen)| {
        check_port(&pool, section, listen?.0.port()).err().map(|failure| plain(failure.text))
    });
    let mut findings: Vec<Finding> = wrong.into_iter().chain(ports).collect();
    findings.extend(Hook::all(&config.webhooks, &environment).err().map(|error| plain(chain(&error))));
    for (name, given) in &config.connectors {
        let used = packages::used(&STANDARD, &config, (name, given));
        if let Err(error) = &used {
            findings.push(plain(chain(error)));
        }
        let unknown = given.workspace.as_ref().filter(|it| !config.workspaces.contains_key(*it));
        if let Some(workspace) = unknown {
            findings.push(plain(format!("[connectors.{name}]: there is no [workspaces.{workspace}]")));
        }
        let both = given.workspace.is_some() && given.config.contains_key("base_url");
        if both {
            findings.push(plain(format!("[connectors.{name}]: give a workspace or a base_url, not both")));
        }
        let complete = unknown.is_none() && !both;
        let mut resolved = given.clone();
        if let Err(error) = config::resolve_environment(&mut resolved.config, &environment) {
            findings.push(plain(format!("[connectors.{name}]: {}", chain(&error))));
        } else if matches!(used, Ok(Used::BuiltIn(_))) && complete {
            let planned = Planned::of((&config, &STANDARD), (name, given), (&environment, Unset::Fails));
            findings.extend(planned.await.err().map(|error| plain(chain(&error))));
        }
    }
    match assemble::rules_in(&config.rules) {
        Ok(rules) => {
            let admits = |chat: &_| STANDARD.admits(&config.surfaces, chat);
            findings
                .extend(rules.rules().iter().filter_map(|rule| followers::fault(rule, admits)).map(plain));
        }
        Err(error) => findings.push(plain(chain(&error))),
    }
    let reported = &config.schedules.surface;
    let mut names = STANDARD.surfaces_of(&config.surfaces).map(|(entry, _)| entry.name).chain([COMMAND_LINE]);
    if names.all(|it| it != reported) {
        findings.push(plain(NoSurface(reported.clone()).to_string()));
    }
    for (entry, given) in STANDARD.surfaces_of(&config.surfaces) {
        findings.extend((entry.check)(given).err().map(|error| plain(chain(&error))));
    }
    findings
}

/// What would stop no host, and leave a rule of it waiting for ever.
fn in_vain(file: &AbsolutePath, text: &str, state: &Path) -> Vec<Finding> {
    let Ok(config) = HostConfig::parse(file, text) else { return Vec::new() };
    let rules = assemble::rules_in(&config.rules).unwrap_or_default();
    let places = watched_places(file, &config.workspaces, state);
    let mut told = webhooks::in_vain(&config.webhooks, &rules);
    told.extend(watch::in_vain(rules.rules(), &places));
    told.into_iter().map(|message| Finding { line: None, column: None, message }).collect()
}

fn in_words(explained: &config::Explained) -> String {
    let key = if explained.key.is_empty() { "host.toml" } else { &explained.key };
    let mut text = format!("{key}\n");
    if !explained.about.is_empty() {
        text.push_str(&format!("  {}\n", explained.about.replace('\n', "\n  ")));
    }
    let without = match (explained.required, &explained.default) {
        (true, _) => "; it must be given".to_owned(),
        (false, Some(Value::String(default))) => format!("; \"{default}\" without it"),
        (false, Some(default)) => format!("; {default} without it"),
        (false, None) => String::new(),
    };
    text.push_str(&format!("  takes {}{without}\n", explained.takes));
    if !explained.keys.is_empty() {
        text.push_str(&format!("  keys: {}\n", explained.keys.join(", ")));
    }
    text
}
