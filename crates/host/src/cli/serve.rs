//! `run`: the host without a terminal.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use connector_contract::{ConnectorFactory, chain};
use connector_opencode::OpencodeFactory;
use opencode_daemons::{Environment, Spec};
use serde_json::{Value, json};

use super::terminal::Signals;
use super::{Common, chat, demo};
use crate::assemble::{self, Parts};
use crate::clock::Clock;
use crate::config::{self, HostConfig};
use crate::exit::{Exit, Failure};
use crate::headless::Headless;
use crate::instance::{Instance, Provider};
use crate::managed::Managed;
use crate::reload::Watch;

/// `run`
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = "host.toml")]
    config: PathBuf,
}

impl Serve {
    pub(super) async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let usage = |error: &(dyn std::error::Error + 'static)| Failure::usage(chain(error));
        let config = HostConfig::load(&self.config).map_err(|error| usage(&error))?;
        // Made first, so that no change is missed.
        let watch = Watch::new(&config.rules);
        let rules = assemble::rules_in(&config.rules).map_err(|error| usage(&error))?;
        let state = common.state()?;
        let (instances, managed) = instances(&config, &state).await?;
        if config.gate.approvers.is_empty() {
            tracing::warn!("gate.approvers is empty: nobody can approve anything");
        }
        let parts = Parts {
            rules,
            instances,
            surfaces: vec![Arc::new(Headless)],
            gate: config.gate,
            deadline: Duration::from_secs(config.deadline_secs),
            max_running: config.max_running,
        };
        let engine = assemble::engine(&state, Clock::System, parts).map_err(|error| usage(&error))?;
        let mut signals = Signals::listen()?;
        engine.schedules_report_to(config.schedules).map_err(|error| usage(&error))?;
        let watching = tokio::spawn(watch.keep_current(engine.clone(), |_| {}));
        let mut running = tokio::spawn({
            let engine = engine.clone();
            async move { engine.run().await }
        });
        tracing::info!(state = %state.display(), "host is running");
        let ended = tokio::select! {
            ended = &mut running => Some(ended),
            _ = signals.next() => None,
        };
        watching.abort();
        engine.stop(Duration::from_secs(15)).await;
        for daemon in managed {
            daemon.stop().await;
        }
        match ended {
            Some(ended) => ended??,
            None => running.await??,
        }
        Ok(Exit::Done)
    }
}

async fn instances(config: &HostConfig, state: &Path) -> Result<(Vec<Instance>, Vec<Managed>), Failure> {
    let environment = Environment::of_this_process();
    let (mut instances, mut managed) = (Vec::new(), Vec::new());
    for (name, given) in &config.connectors {
        let mut given = given.clone();
        config::resolve_environment(&mut given.config, &environment).map_err(|error| about(name, &error))?;
        let connector = given.connector.as_deref().unwrap_or(name);
        if connector != OpencodeFactory::default().name() {
            let text = format!(
                "[connectors.{name}]: there is no connector `{connector}`; there is: connector-opencode"
            );
            return Err(Failure::usage(text));
        }
        let Some(workspace) = &given.workspace else {
            let base_url = given.config.remove("base_url");
            let base_url = base_url.as_ref().and_then(Value::as_str).unwrap_or("http://127.0.0.1:4096");
            let password = given.config.remove("password");
            let password = password.as_ref().and_then(Value::as_str);
            let fixed = chat::attached(given.config, base_url, password, given.allow_remote).await?;
            let described = fixed.0.connector.clone();
            instances.push(Instance {
                name: name.clone(),
                workspace: None,
                described,
                provider: Arc::new(fixed),
            });
            continue;
        };
        let provider = provider(config, name, workspace, &given, state, &environment).await?;
        let described = chat::described(&with_directory(&given, &provider.1)).await?;
        managed.push(provider.0.clone());
        let provider: Arc<dyn Provider> = Arc::new(provider.0);
        instances.push(Instance {
            name: name.clone(),
            workspace: Some(workspace.clone()),
            described,
            provider,
        });
    }
    Ok((instances, managed))
}

async fn provider(
    config: &HostConfig,
    name: &str,
    workspace: &str,
    given: &config::Instance,
    state: &Path,
    environment: &Environment,
) -> Result<(Managed, PathBuf), Failure> {
    let Some(settings) = config.workspaces.get(workspace) else {
        return Err(Failure::usage(format!("[connectors.{name}]: there is no [workspaces.{workspace}]")));
    };
    if given.config.contains_key("base_url") {
        return Err(Failure::usage(format!("[connectors.{name}]: give a workspace or a base_url, not both")));
    }
    let directory = chat::existing_directory(&settings.directory)?;
    let opencode = demo::locate(config.opencode.clone(), environment.clone()).await?;
    std::fs::create_dir_all(state)?;
    let mut spec = Spec::new(opencode.path, &directory, environment.clone());
    spec.config = Value::Object(settings.extra_config.clone());
    spec.pass.clone_from(&settings.pass);
    let factory: Arc<dyn ConnectorFactory> = Arc::new(OpencodeFactory::default());
    let record = state.join(chat::record_name(&directory));
    Ok((Managed::new(factory, with_directory(given, &directory), spec, record), directory))
}

fn with_directory(given: &config::Instance, directory: &Path) -> serde_json::Map<String, Value> {
    let mut config = given.config.clone();
    config.insert("directory".to_owned(), json!(directory));
    config
}

fn about(name: &str, error: &config::ConfigError) -> Failure {
    Failure::usage(format!("[connectors.{name}]: {}", chain(error)))
}
