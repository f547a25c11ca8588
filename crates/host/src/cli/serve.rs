//! `run`: the host without a terminal.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use connector_contract::chain;
use connector_engine::Engine;
use connector_engine::followers;
use connector_engine::instance::Instance;
use connector_files::AbsolutePath;
use connector_gate::clock::Clock;
use connector_gate::policy::GateConfig;
use connector_rules::{Rule, RuleSet};
use connector_surface::log::LogSurface;
use connector_surface::{Surface, SurfaceError};
use opencode_daemons::pool::{OnExit, Others, WorkspaceConfig};
use opencode_daemons::{Environment, Home, PoolConfig};
use secrecy::SecretString;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::api::{self, Serving};
use super::terminal::{Hangups, Signals};
use super::{Common, demo, path, service_manager, webhooks};
use crate::assemble::{self, Parts};
use crate::build::registry::STANDARD;
use crate::build::{Planned, Unset, gather};
use crate::config::{self, HostConfig, OnStop, SecretSource};
use crate::exit::{Exit, Failure};
use crate::managed::{self, Daemons};
use crate::places::Places;
use crate::reload::Watch;
use crate::troubles::Troubles;
use crate::{git, watch};

/// How long a surface may take to stop, and then again to send the last.
const SURFACES: Duration = Duration::from_secs(5);

/// `run`
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// The configuration [default: host.toml here, or else in your configuration directory]
    #[arg(short, long, value_name = "FILE", value_parser = path::absolute())]
    config: Option<AbsolutePath>,
}

/// The configuration. With it the host leaves the cgroup that is delegated to it for a leaf, before anything is started that would stay behind there.
/// Where daemons go on without the host it stays: its service manager could start no other in that group.
fn load(file: &AbsolutePath) -> Result<HostConfig, Failure> {
    super::own("the configuration", [file.as_path(), &file.parent()])?;
    let config = HostConfig::load(file).map_err(|error| usage(&error))?;
    if config.opencode.on_exit == OnExit::Stop {
        opencode_daemons::leave_for_leaf();
    }
    Ok(config)
}

impl Serve {
    pub(super) async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let file = path::config(self.config.as_ref())?;
        let config = load(&file)?;
        super::own_rules(&config.rules)?;
        super::own("the directory of packages", [config.plugins_dir.as_path()])?;
        // Made first, so that no change is missed.
        let watch = Watch::new(&config.rules);
        let rules = assemble::rules_in(&config.rules).map_err(|error| usage(&error))?;
        let state = common.state()?;
        let environment = Environment::of_this_process();
        let pool = managed::config::pool(
            &config.opencode,
            &config.workspaces,
            environment.get("HOME").map(Path::new),
        );
        // Before anything is made there.
        super::check_places(&places(&file, &config, &state, &environment), &pool)?;
        super::own_state(&state)?;
        let port = api::listen(&config.api, &state)?;
        if let Some(port) = &port {
            check_port(&pool, "api", port.number()?)?;
        }
        let hooks = webhook_port(&config, &environment, &rules, &pool)?;
        let (mut instances, mut daemons) = instances((&file, &config), &state).await?;
        let git = git::Git::new((&config.opencode, &config.workspaces), environment.clone(), &state);
        instances.push(git.instance().map_err(|error| usage(&error))?);
        let secrets = secrets(&config, &environment, (daemons.as_ref(), port.as_ref(), hooks.as_ref()));
        let mut surfaces: Vec<Arc<dyn Surface>> = vec![Arc::new(LogSurface)];
        for (entry, given) in STANDARD.surfaces_of(&config.surfaces) {
            let made = (entry.make)(given).map_err(|error| usage(&error))?;
            instances.push(made.instance);
            surfaces.push(made.surface);
        }
        check_followers(&rules, &surfaces)?;
        warn_of_gate(&rules, &config.gate);
        let parts = Parts {
            rules,
            instances,
            surfaces,
            gate: config.gate,
            deadline: Duration::from_secs(config.deadline_secs),
            max_running: config.max_running,
            secrets,
            ..Parts::default()
        };
        let engine = assemble::engine(&state, Clock::System, parts).map_err(|error| usage(&error))?;
        let (mut ends, hangups) = Signals::listen()?.of_service();
        let troubles = Troubles::none(&state);
        engine.schedules_report_to(config.schedules).map_err(|error| usage(&error))?;
        let again = Arc::new(Notify::new());
        let watched = watched_places(&file, &config.workspaces, &state);
        let background = [
            tokio::spawn(watch.keep_current(engine.clone(), Arc::clone(&again), reported(&troubles))),
            tokio::spawn(read_again(hangups, again, file.clone())),
            tokio::spawn(watch::keep(engine.clone(), watched, troubles.clone())),
        ];
        let mut running = tokio::spawn({
            let engine = engine.clone();
            async move { engine.run().await }
        });
        if let Some(daemons) = &mut daemons {
            daemons.answer_commands(Others::End);
        }
        let api = Serving::start(&config.api, &state, port, &engine, &troubles)?;
        let hooks = webhooks::Serving::start(&config.webhooks, hooks, &engine)?;
        tracing::info!(state = %state.display(), "host is running");
        let telling = tokio::spawn(service_manager::tell(engine.clone()));
        let stop = CancellationToken::new();
        let failed = failed(&troubles, &stop);
        let surfaces = tokio::spawn({
            let (engine, stop, failed) = (engine.clone(), stop.clone(), failed.clone());
            async move { engine.run_surfaces((&stop, SURFACES), failed).await }
        });
        let ended = tokio::select! {
            ended = &mut running => Some(ended),
            () = ends.next() => None,
        };
        telling.abort();
        service_manager::stopping();
        // Nothing comes in or is decided any more that this host would not see.
        stop.cancel();
        let ((), (), _) = tokio::join!(api.stop(), hooks.stop(), surfaces);
        background.iter().for_each(JoinHandle::abort);
        drain(&engine, config.on_stop, config.opencode.on_exit).await;
        // Once it has ended, no pass delivers any more.
        let ended = match ended {
            None => tokio::time::timeout(SURFACES, &mut running).await.ok(),
            ended => ended,
        };
        engine.finish_surfaces(SURFACES, failed).await;
        if let Some(daemons) = daemons {
            daemons.stop().await;
        }
        match ended {
            Some(ended) => ended??,
            None => running.await??,
        }
        Ok(Exit::Done)
    }
}

/// Says where nobody can approve, or persons are counted that may be one.
fn warn_of_gate(rules: &RuleSet, gate: &GateConfig) {
    if gate.approvers.is_empty() {
        tracing::warn!("gate.approvers is empty: nobody can approve anything");
    }
    for doubt in assemble::doubtful_people(rules, gate) {
        tracing::warn!("{doubt}");
    }
}

/// Whether all that rules name as followers may be told.
fn check_followers(rules: &RuleSet, surfaces: &[Arc<dyn Surface>]) -> Result<(), Failure> {
    let fault = |rule: &Arc<Rule>| {
        followers::fault(rule, |chat| followers::admitted_by(surfaces, (chat.surface(), chat.chat())))
    };
    rules.rules().iter().find_map(fault).map_or(Ok(()), |fault| Err(Failure::usage(fault)))
}

/// The port of webhooks, which no agent reaches; says which rules wait for one in vain.
fn webhook_port(
    config: &HostConfig,
    environment: &Environment,
    rules: &RuleSet,
    pool: &PoolConfig,
) -> Result<Option<webhooks::Port>, Failure> {
    let port = webhooks::Port::open(&config.webhooks, environment)?;
    if let Some(port) = &port {
        check_port(pool, "webhooks", port.number()?)?;
    }
    for text in webhooks::in_vain(&config.webhooks, rules) {
        tracing::warn!("{text}");
    }
    Ok(port)
}

/// Where the files are that rules wait for, and what of the host's own is among them.
pub(super) fn watched_places(
    file: &AbsolutePath,
    workspaces: &BTreeMap<String, WorkspaceConfig>,
    state: &Path,
) -> watch::Places {
    let workspaces = workspaces
        .iter()
        .map(|(name, workspace)| (name.clone(), workspace.directory.to_path_buf()))
        .collect();
    watch::Places { base: config::base(file), state: state.to_owned(), workspaces }
}

/// Stops what runs, but for what the next start will find again.
async fn drain(engine: &Engine, on_stop: OnStop, on_exit: OnExit) {
    let grace = Duration::from_secs(15);
    match on_stop {
        OnStop::Leave => {
            let left = engine.leave(grace, on_exit == OnExit::Keep).await;
            tracing::info!(left, "running steps are left to the next start");
        }
        OnStop::Cancel => engine.stop(grace).await,
    }
}

/// Tells of a surface that cannot go on. All else does.
fn failed(troubles: &Troubles, stop: &CancellationToken) -> impl Fn(&str, &SurfaceError) + Clone + use<> {
    let (troubles, stop) = (troubles.clone(), stop.clone());
    move |name, error| {
        if stop.is_cancelled() {
            return tracing::warn!("{name}: {error}");
        }
        let off = "it is off until the host is started again, and all else goes on";
        troubles.tell(name, &format!("{error}; {off}"));
    }
}

/// Reads the rules again at each hangup, and says whether the configuration would still be taken.
async fn read_again(mut hangups: Hangups, rules: Arc<Notify>, file: AbsolutePath) {
    loop {
        hangups.next().await;
        rules.notify_one();
        match super::config::faults(&file).await {
            Ok(None) => tracing::info!(
                "the rules are being read again; no mistake was found in {}, and what else it says is taken at the next start",
                file.display()
            ),
            Ok(Some(faults)) => tracing::warn!("the next start would not take the configuration: {faults}"),
            Err(failure) => {
                tracing::warn!("the next start would not take the configuration: {}", failure.text);
            }
        }
    }
}

/// Writes down for `doctor` that a change of the rules was not taken.
fn reported(troubles: &Troubles) -> impl Fn(&str, bool) + Send + use<> {
    let troubles = troubles.clone();
    move |text, taken| if taken { troubles.over("rules") } else { troubles.tell("rules", text) }
}

/// Makes the instances that the configuration describes, and the daemons of those that drive one.
async fn instances(
    (file, config): (&AbsolutePath, &HostConfig),
    state: &Path,
) -> Result<(Vec<Instance>, Option<Daemons>), Failure> {
    let environment = Environment::of_this_process();
    let (mut instances, mut daemons) = (Vec::new(), None);
    for (name, given) in &config.connectors {
        let planned = Planned::of((config, &STANDARD), (name, given), (&environment, Unset::Fails));
        let planned = planned.await.map_err(|error| usage(&error))?;
        if let Some(missing) = planned.missing_isolation().map_err(|error| usage(&error))? {
            tracing::warn!(connector = name, "{missing}");
        }
        if planned.drives_workspace() && daemons.is_none() {
            daemons = Some(pool((file, config), state, &environment).await?);
        }
        instances.push(planned.make(state, daemons.as_ref()).await.map_err(|error| usage(&error))?);
    }
    Ok((instances, daemons))
}

/// The secrets that are known here: those of the configuration, of the daemons and of webhooks, and the API's token.
fn secrets(
    config: &HostConfig,
    environment: &Environment,
    (daemons, port, hooks): (Option<&Daemons>, Option<&api::Port>, Option<&webhooks::Port>),
) -> Vec<SecretString> {
    let of_connectors = config.connectors.values().map(|instance| &instance.config);
    let mut secrets = Vec::new();
    for (key, value) in of_connectors.chain(config.surfaces.settings()).flatten() {
        gather(key, value, environment, &mut secrets);
    }
    let files =
        config.surfaces.secret_files().filter_map(|file| connector_connections::secret_file(file).ok());
    secrets.extend(files.map(|secret| SecretString::from(secret.trim_end())));
    secrets.extend(daemons.iter().flat_map(|daemons| daemons.secrets()).cloned());
    secrets.extend(port.map(api::Port::token).cloned());
    secrets.extend(hooks.into_iter().flat_map(webhooks::Port::secrets).cloned());
    secrets
}

/// Everything that an agent of this host must not change.
pub(super) fn places(
    file: &AbsolutePath,
    config: &HostConfig,
    state: &Path,
    environment: &Environment,
) -> Places {
    let places = Places::of_host(state, environment)
        .with("the configuration", file.to_path_buf())
        .with("the directory of rules", config.rules.to_path_buf())
        .with("the directory of packages", config.plugins_dir.to_path_buf());
    let secrets = config.surfaces.secret_files();
    let places = secrets.fold(places, |places, file| places.with_secret("the secret of a surface", file));
    let token = match (&config.api.token_file, config.api.listen) {
        (Some(file), _) => Some(file.to_path_buf()),
        (None, Some(_)) => Some(api::token(state)),
        (None, None) => None,
    };
    let places =
        token.into_iter().fold(places, |places, token| places.with_secret("the token of the API", token));
    config.webhooks.paths.values().fold(places, |places, hook| match &hook.secret {
        Some(SecretSource::File(file)) => places.with_secret("the secret of a webhook", file.to_path_buf()),
        _ => places,
    })
}

/// Refuses a port, of `[section]`, that agents of a workspace reach.
pub(super) fn check_port(pool: &PoolConfig, section: &str, port: u16) -> Result<(), Failure> {
    let reaches = |workspace: &WorkspaceConfig| pool.network(workspace).loopback.contains(&port);
    match pool.workspaces.iter().find(|(_, workspace)| port != 0 && reaches(workspace)) {
        Some((name, _)) => Err(Failure::usage(format!(
            "[{section}] listen: `loopback` opens port {port} to the agents of the workspace {name}; listen at another"
        ))),
        None => Ok(()),
    }
}

/// The pool of daemons, saying what its walls do not hold.
pub(super) async fn pool(
    (file, config): (&AbsolutePath, &HostConfig),
    state: &Path,
    environment: &Environment,
) -> Result<Daemons, Failure> {
    let home = environment.get("HOME").map(Path::new);
    let mut pool = managed::config::pool(&config.opencode, &config.workspaces, home);
    for name in pool.workspaces.keys() {
        if let Some(missing) = demo::check_walls(managed::config::confine(&pool, name))? {
            tracing::warn!(workspace = name, "{missing}");
        }
    }
    let opencode = demo::locate(pool.path.clone(), environment.clone(), Some(state)).await?;
    super::check_places(
        &places(file, config, state, environment).with("opencode's binary", &opencode.path),
        &pool,
    )?;
    pool.second = opencode.is_of_2();
    pool.no_namespaces = managed::no_namespaces();
    pool.expand_presets(environment);
    for name in pool.workspaces.keys() {
        if let Some(unshown) = demo::check_opencode(&opencode, managed::config::confine(&pool, name))? {
            tracing::warn!(workspace = name, "{unshown}");
        }
    }
    Daemons::new(&pool, opencode.path, Home::User, environment.clone(), state)
        .map_err(|error| Failure::usage(chain(&error)))
}

fn usage(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::usage(chain(error))
}
