//! Connectors whose daemons the host starts: a thin layer over the pool.
//!
//! A [`Managed`] is ready at once and starts nothing. Each call takes a lease of its workspace's
//! daemon, drives a connector made for where that daemon listens, and returns the lease at its
//! end. If the daemon dies meanwhile, the call waits for the pool to start it again and finds out
//! what became of the turn (`call`). Other processes of the same user ask a running host about its
//! daemons through a socket (`control`).

mod call;
pub mod config;
pub mod control;
pub(crate) mod refusals;
mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::{
    Connector, ConnectorError, ConnectorFactory, Origin, OutboundHttp, Provenance, Reach, Target, chain,
};
use connector_engine::instance::{Instance, Provider, Ready, grant};
use opencode_daemons::confine::{self, Kernel};
use opencode_daemons::pool::{
    Address, ConfigError, Confine, Isolation, Others, Surroundings, WorkspaceConfig,
};
use opencode_daemons::project::{Brought, Project};
use opencode_daemons::{Environment, Home, Pool, PoolConfig, Worktrees};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use crate::own_model::Source;
use crate::told;

/// How long a card waits for a daemon that gets ready, where it shows what that says.
const STARTS: Duration = Duration::from_secs(10);

/// The daemons of this host.
pub struct Daemons {
    pool: Pool,
    state: PathBuf,
    control: Option<control::Serving>,
    config: Arc<PoolConfig>,
    environment: Environment,
    secrets: Vec<SecretString>,
    /// The permission rules that each workspace's daemon is given.
    rules: BTreeMap<String, Map<String, Value>>,
    /// How long a daemon that died may take to come back before the outcome is unknown.
    comes_back: Duration,
    /// Of the workspaces whose tasks have working trees of their own.
    trees: BTreeMap<String, Worktrees>,
}

impl Daemons {
    /// Makes the pool; nothing is started yet. `state` is the host's state directory.
    pub fn new(
        config: &PoolConfig,
        program: PathBuf,
        home: Home,
        environment: Environment,
        state: &Path,
    ) -> Result<Self, ConfigError> {
        let launcher = std::env::current_exe().ok();
        let state = directory(state);
        let rules = config.workspaces.iter().map(|(name, one)| (name.clone(), config.permission_rules(one)));
        let rules = rules.collect();
        let surroundings =
            Surroundings { program, environment: environment.clone(), state: state.clone(), launcher, home };
        let isolated = config.workspaces.iter().filter(|(_, one)| one.isolation == Isolation::Worktree);
        let trees = isolated.map(|one| Ok((one.0.clone(), trees_of(config, one, &surroundings)?)));
        let trees = trees.collect::<Result<_, ConfigError>>()?;
        // A rest between two starts is half a minute at most.
        let comes_back = Duration::from_secs(config.server_startup_timeout_secs) + call::REST;
        Ok(Self {
            secrets: config.secrets(&surroundings)?,
            pool: Pool::new(config, &surroundings)?,
            state,
            control: None,
            config: Arc::new(config.clone()),
            environment,
            rules,
            comes_back,
            trees,
        })
    }

    /// Takes over the daemons that an earlier host left, ends or leaves those of `others`, removes what
    /// it left of working trees, and answers the commands of other processes from now on. To be called by
    /// the one host of the state directory, once it is the one.
    pub fn answer_commands(&mut self, others: Others) {
        self.pool.take_over(others);
        for trees in self.trees.values() {
            let trees = trees.clone();
            tokio::spawn(async move { trees.clean().await });
        }
        self.control = Some(control::serve(&self.state, &self.pool));
    }

    /// The pool.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// What of the daemons must not be shown, as far as that is known before they start.
    pub fn secrets(&self) -> &[SecretString] {
        &self.secrets
    }

    /// Ends the daemons, or leaves them for the next host, as configured.
    pub async fn stop(self) {
        drop(self.control);
        self.pool.shutdown().await;
    }
}

/// The trees of one workspace, with their set-up.
fn trees_of(
    config: &PoolConfig,
    (name, workspace): (&String, &WorkspaceConfig),
    around: &Surroundings,
) -> Result<Worktrees, ConfigError> {
    let confined = config::confine(config, name) != Confine::Off;
    let launcher = around.launcher.clone().filter(|_| confined);
    let environment = around.environment.clone();
    let trees = Worktrees::new(name, &workspace.directory, &around.state, environment, launcher);
    let setup = config.setup(name, around)?;
    Ok(match setup {
        Some(setup) => trees.with_setup(setup),
        None => trees,
    })
}

/// Where the daemons' records, logs and private files are.
pub fn directory(state: &Path) -> PathBuf {
    state.join("daemons")
}

/// What a step would touch at a daemon of which these are the terms.
pub fn within(target: Target, terms: &Map<String, Value>) -> Target {
    call::within(target, terms)
}

/// What is missing of the walls that `wanted` asks for, in words for people; nothing when they
/// hold or are not wanted.
pub fn missing_walls(wanted: Confine) -> Option<String> {
    let missing = match (wanted, confine::kernel()) {
        (Confine::Off, _) => {
            "confine is off: the agent can reach what you can, its own daemon's password included, \
             and could answer its own asks"
        }
        (_, Kernel::Whole) => {
            return no_namespaces().map(|missing| {
                format!(
                    "the agent's network is this machine's, and it can change modes and times of files that it cannot \
                     open: {missing}"
                )
            });
        }
        (_, Kernel::Files) => {
            "this system confines the agent's files only: it can signal and inspect your other processes, \
             or reach their sockets"
        }
        (_, Kernel::None) => {
            "this kernel cannot confine the agent (no Landlock): it can reach what you can, \
             its own daemon's password included, and could answer its own asks"
        }
    };
    Some(missing.to_owned())
}

/// What keeps the daemons of this host from having namespaces. Tried once, and blocks then.
pub fn no_namespaces() -> Option<confine::namespaces::Missing> {
    confine::namespaces::missing(&std::env::current_exe().unwrap_or_default())
}

/// A connector to the daemon of one workspace. Clones share it.
#[derive(Clone)]
pub struct Managed(Arc<Inner>);

struct Inner {
    pool: Pool,
    /// As the pool knows it.
    workspace: String,
    /// Of all workspaces.
    pool_config: Arc<PoolConfig>,
    /// Where the daemons' files are.
    state: PathBuf,
    environment: Environment,
    /// The permission rules that its daemon is given.
    rules: Map<String, Value>,
    /// Where its daemon finds the model of a prompt that names none.
    own_model: Source,
    comes_back: Duration,
    trees: Option<Worktrees>,
    factory: Arc<dyn ConnectorFactory>,
    config: Map<String, Value>,
    /// Declares everything; is never called.
    described: Arc<dyn Connector>,
    /// Shared by the calls at one address, since turns of one directory wait for each other in it.
    connected: Mutex<Option<(Address, Ready)>>,
}

impl Managed {
    /// A connector of `factory`, configured by `config`, to the daemon of `workspace`.
    pub async fn new(
        daemons: &Daemons,
        workspace: &str,
        factory: Arc<dyn ConnectorFactory>,
        config: Map<String, Value>,
    ) -> Result<Self, ConnectorError> {
        let described = factory.create(Value::Object(config.clone())).await?.into();
        Ok(Self(Arc::new(Inner {
            pool: daemons.pool.clone(),
            workspace: workspace.to_owned(),
            pool_config: Arc::clone(&daemons.config),
            state: daemons.state.clone(),
            environment: daemons.environment.clone(),
            rules: daemons.rules.get(workspace).cloned().unwrap_or_default(),
            own_model: Source::of(
                daemons.environment.clone(),
                &daemons.config,
                daemons.config.workspaces.get(workspace),
            ),
            comes_back: daemons.comes_back,
            trees: daemons.trees.get(workspace).cloned(),
            factory,
            config,
            described,
            connected: Mutex::default(),
        })))
    }

    /// Itself as an instance: called `name`, its workspace shown as `workspace`.
    pub fn instance(self, name: &str, workspace: &str) -> Instance {
        Instance {
            name: name.to_owned(),
            workspace: Some(workspace.to_owned()),
            described: Arc::new(self.clone()),
            provider: Arc::new(self),
        }
    }

    /// The connector for the daemon at `address`, with the way out to it and nowhere else; one of
    /// its own for a `directory` of its own.
    async fn connect(&self, address: &Address, directory: Option<&Path>) -> Result<Ready, ConnectorError> {
        if let Some(directory) = directory {
            let mut config = self.0.config.clone();
            config.insert("directory".to_owned(), json!(directory));
            return self.make(address, config).await;
        }
        let mut connected = self.0.connected.lock().await;
        if let Some((_, ready)) = connected.as_ref().filter(|(known, _)| known == address) {
            return Ok(ready.clone());
        }
        let ready = self.make(address, self.0.config.clone()).await?;
        *connected = Some((address.clone(), ready.clone()));
        Ok(ready)
    }

    async fn make(&self, address: &Address, mut config: Map<String, Value>) -> Result<Ready, ConnectorError> {
        config.insert("base_url".to_owned(), json!(address.base_url));
        config.insert("password".to_owned(), json!(address.password.expose_secret()));
        let connector = self.0.factory.create(Value::Object(config)).await?;
        let origin: Origin = address.base_url.parse().map_err(|error| ConnectorError::InvalidConfig {
            reason: format!("the daemon's address: {}", chain(&error)),
        })?;
        let http = grant(connector.as_ref(), &origin, Reach::Loopback)?;
        Ok(Ready { connector: connector.into(), http })
    }

    /// Lets go of the connector to a daemon that is gone: its event stream must not try the port
    /// again, which may be a stranger's by now.
    async fn disconnect(&self, address: &Address) {
        let mut connected = self.0.connected.lock().await;
        if connected.as_ref().is_some_and(|(known, _)| known == address) {
            *connected = None;
        }
    }
}

impl Inner {
    /// Where its daemon reads the configuration of its project.
    fn project(&self) -> Option<(&Path, PathBuf)> {
        let workspace = self.pool_config.workspaces.get(&self.workspace)?;
        match self.pool_config.project(&self.workspace, workspace, &self.state) {
            Project::Copied(copies) => Some((&workspace.directory, copies)),
            Project::AsFound | Project::Ignored => None,
        }
    }

    /// Nobody is asked about work in a directory that is not there.
    fn check_directory(&self) -> Result<(), ConnectorError> {
        let Some(workspace) = self.pool_config.workspaces.get(&self.workspace) else { return Ok(()) };
        if workspace.directory.is_dir() {
            return Ok(());
        }
        Err(ConnectorError::Unavailable {
            reason: format!(
                "the directory of the workspace `{}`, {}, is not there; nothing was begun",
                self.workspace,
                workspace.directory.display()
            ),
            source: None,
        })
    }

    /// Where what its daemon's egress proxy refused is on record.
    fn egress_record(&self) -> PathBuf {
        opencode_daemons::egress_record(&self.state, &self.workspace)
    }

    /// Where the paths that were refused to its daemon's commands are on record.
    fn refusal_record(&self) -> PathBuf {
        opencode_daemons::refusal_record(&self.state, &self.workspace)
    }

    /// On what terms its tasks run now: what is asked of its walls, and what they leave open.
    fn terms(&self) -> Map<String, Value> {
        let workspace = self.pool_config.workspaces.get(&self.workspace);
        workspace.map(|workspace| self.pool_config.terms(workspace)).unwrap_or_default()
    }

    /// The same where its repository has `brought` of opencode's configuration.
    fn terms_with(&self, brought: &Brought) -> Map<String, Value> {
        let workspace = self.pool_config.workspaces.get(&self.workspace);
        workspace.map(|workspace| self.pool_config.terms_with(workspace, brought)).unwrap_or_default()
    }
}

#[async_trait]
impl Provider for Managed {
    async fn ready(&self) -> Result<Ready, String> {
        // Each call opens its own way out, once it knows where its daemon listens.
        let http = OutboundHttp::new([]).map_err(|error| chain(&error))?;
        Ok(Ready { connector: Arc::new(self.clone()), http })
    }

    fn prewarm(&self) {
        self.0.pool.warm(&self.0.workspace);
    }

    /// What was granted for good passes only where that is to be shown, and is told by 2.x alone.
    async fn told(&self, target: &Target, _input: &Value, provenance: &Provenance) -> Map<String, Value> {
        let shows = self.0.config.get("saved_rules").is_some_and(|rules| rules == "show");
        if !self.0.pool_config.second || !shows {
            return Map::new();
        }
        let described = async {
            let lease = self.0.pool.lease(&self.0.workspace, |_| {}).await.map_err(|error| chain(&error))?;
            let ready = self.connect(&lease.address(), None).await.map_err(|error| chain(&error))?;
            let agent = target.settings.get("agent").and_then(Value::as_str);
            told::describe(&ready, agent, provenance, STARTS).await
        };
        let saved = match tokio::time::timeout(STARTS, described).await {
            Ok(Ok(description)) => told::saved(&description),
            Ok(Err(_)) | Err(_) => {
                Some("not known, since its daemon does not say what was granted for good".to_owned())
            }
        };
        saved.map(|saved| ("saved".to_owned(), json!(saved))).into_iter().collect()
    }
}
