//! The pool's part of the host's configuration. Unknown keys are errors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use connector_egress::HostPattern;
use connector_files::AbsolutePath;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Surroundings;
use crate::confine::{self, Access, Confinement, Door, Network, Preset};
use crate::daemon::{self, Contained, Home, Port, Spec};
use crate::environment::Environment;
use crate::keys::Logins;
use crate::project::{Project, ProjectConfig};
use crate::resource_limits::{LEAST_MEMORY, ResourceLimits};
use crate::worktree;
use crate::worktree::{PatternError, Remote, RemoteError, Setup, SetupConfig, SetupConfigError};

/// The first port of loopback that can be named: those below are for the proxies within.
const LOOPBACK: u16 = 1024;

/// The largest weight of cgroup v2.
const HEAVIEST: u32 = 10_000;

/// Why the configuration is refused; nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A number that must be at least one.
    #[error("`{0}` must be at least 1")]
    Zero(&'static str),
    /// A name that cannot be the name of a file.
    #[error("workspace name `{0}` may only have letters, digits, `-` and `_`")]
    Name(String),
    /// A model without its provider.
    #[error("model `{0}` is not of the form provider/model")]
    Model(String),
    /// Walls without anything to put them up.
    #[error(
        "workspace `{0}` requires confinement, which this host cannot do; set `confine = \"on\"` or \"off\""
    )]
    Unconfined(String),
    /// A weight that the kernel does not take.
    #[error("`io_weight` must be from 1 to {HEAVIEST}, and {0} is not")]
    Weight(u32),
    /// Less memory than the daemon itself needs.
    #[error("`memory_mb` must be at least {LEAST_MEMORY}: a daemon alone holds about half of that")]
    Memory,
    /// A door that is not a whole path.
    #[error("`read` and `write` take absolute paths, and {} is none", .0.display())]
    Relative(PathBuf),
    /// A port that cannot be passed on to.
    #[error("`loopback` takes ports from 1024 on, and {0} is none")]
    Loopback(u16),
    /// Something that opencode's configuration cannot take.
    #[error("`extra_config` must be a table")]
    Extra,
    /// An address that nothing is pushed to.
    #[error("[workspaces.{0}] `remote`: {1}")]
    Remote(String, RemoteError),
    /// A set-up of trees that cannot be.
    #[error("[workspaces.{0}] {1}")]
    Setup(String, SetupConfigError),
    /// Two workspaces for one directory.
    #[error("workspaces `{0}` and `{1}` have the same directory")]
    Twice(String, String),
}

/// What opencode may do with one of its tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Without asking.
    Allow,
    /// After asking.
    Ask,
    /// Never.
    Deny,
}

/// What becomes of the daemons when the host ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnExit {
    /// They are stopped.
    #[default]
    Stop,
    /// They go on, and the next host finds them.
    Keep,
}

/// Whether daemons run within walls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Confine {
    /// As far as the kernel can hold them.
    #[default]
    On,
    /// Not at all.
    Off,
    /// Wholly, or the daemon is not started.
    Required,
}

/// Where tasks work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// In the workspace's directory.
    #[default]
    None,
    /// Each in a working tree and on a branch of its own.
    Worktree,
}

/// The daemons of this host.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoolConfig {
    /// The binary: a path, a name, or `env:VAR`.
    pub path: Option<String>,
    /// How many daemons run at once.
    pub max_servers: usize,
    /// How long a daemon may take to answer.
    pub server_startup_timeout_secs: u64,
    /// How often in a row a daemon that died is started again; one try heals every five minutes.
    pub max_restart_retries: u32,
    /// After how long without a lease a daemon is ended; 0 is never.
    pub idle_timeout_secs: u64,
    /// How long a daemon that runs may leave questions unanswered before it is replaced.
    pub answer_timeout_secs: u64,
    /// How long a lease waits for a place or a start.
    pub wait_timeout_secs: u64,
    /// What becomes of the daemons when the host ends.
    pub on_exit: OnExit,
    /// Per tool, for every workspace.
    pub permissions: BTreeMap<String, Action>,
    /// The model of every workspace, `provider/model`; opencode's own choice when absent.
    pub model: Option<String>,
    /// Names of variables that every daemon gets, such as provider keys.
    pub pass: Vec<String>,
    /// Names of variables that every daemon gets and, within walls, its agent's commands too.
    pub pass_to_commands: Vec<String>,
    /// What becomes of stored logins that are renewed.
    pub logins: Logins,
    /// Whether daemons run within walls.
    pub confine: Confine,
    /// Whether every daemon may make and reach sockets that have a path, wherever they are.
    pub unix_sockets: bool,
    /// What of the network every daemon reaches; named hosts, where that can be held, when absent.
    pub network: Option<Access>,
    /// The hosts that every daemon reaches.
    #[schemars(with = "Vec<String>")]
    pub hosts: Vec<HostPattern>,
    /// What every daemon reaches of the hosts that the user's own tools are configured for.
    pub presets: Vec<Preset>,
    /// The ports of this machine's loopback that every daemon reaches.
    pub loopback: Vec<u16>,
    /// What every daemon may read beyond the usual.
    pub read: Vec<PathBuf>,
    /// What every daemon may write beyond its workspace.
    pub write: Vec<PathBuf>,
    /// How much private memory a daemon and its agent's commands may hold together, in MiB.
    pub memory_mb: Option<u64>,
    /// How many processes the commands of a daemon's agent may be.
    pub max_processes: Option<usize>,
    /// How much temporary files and a daemon's own data may hold on the disk, in MiB.
    pub disk_mb: Option<u64>,
    /// How much processor time a daemon and its agent's commands may take together, in percent of one processor; needs a
    /// delegated cgroup.
    pub cpu_percent: Option<u32>,
    /// How a daemon and its agent's commands weigh where disks are shared, from 1 to 10000 where others weigh 100; needs a
    /// delegated cgroup.
    pub io_weight: Option<u32>,
    /// Whether the configuration that repositories bring acts in their daemons.
    pub project_config: ProjectConfig,
    /// Whether the daemons are of 2.x, as far as that is known.
    #[serde(skip)]
    pub second: bool,
    /// What keeps daemons from having namespaces, as far as that is known.
    #[serde(skip)]
    pub no_namespaces: Option<confine::namespaces::Missing>,
    /// Laid over opencode's configuration, for every workspace.
    #[schemars(with = "Map<String, Value>")]
    pub extra_config: Option<Value>,
    /// The workspaces by name.
    #[schemars(skip)]
    pub workspaces: BTreeMap<String, WorkspaceConfig>,
}

/// One workspace. What it says wins over what is said for all.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceConfig {
    /// The directory its daemon serves.
    pub directory: AbsolutePath,
    /// Per tool.
    #[serde(default)]
    pub permissions: BTreeMap<String, Action>,
    /// `provider/model`.
    pub model: Option<String>,
    /// Further variables.
    #[serde(default)]
    pub pass: Vec<String>,
    /// Further variables that its agent's commands get too.
    #[serde(default)]
    pub pass_to_commands: Vec<String>,
    /// What becomes of stored logins that are renewed.
    pub logins: Option<Logins>,
    /// Whether it runs within walls.
    pub confine: Option<Confine>,
    /// Where its tasks work.
    #[serde(default)]
    pub isolation: Isolation,
    /// What a task's working tree gets before its agent begins.
    pub setup: Option<SetupConfig>,
    /// Whether it may make and reach sockets that have a path.
    pub unix_sockets: Option<bool>,
    /// What of the network it reaches.
    pub network: Option<Access>,
    /// Further hosts.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub hosts: Vec<HostPattern>,
    /// Further presets.
    #[serde(default)]
    pub presets: Vec<Preset>,
    /// Further ports of loopback.
    #[serde(default)]
    pub loopback: Vec<u16>,
    /// What it may read besides.
    #[serde(default)]
    pub read: Vec<PathBuf>,
    /// What it may write besides.
    #[serde(default)]
    pub write: Vec<PathBuf>,
    /// How much private memory its daemon and commands may hold together, in MiB.
    pub memory_mb: Option<u64>,
    /// How many processes its agent's commands may be.
    pub max_processes: Option<usize>,
    /// How much temporary files and its daemon's own data may hold on the disk, in MiB.
    pub disk_mb: Option<u64>,
    /// How much processor time its daemon and commands may take together, in percent of one processor.
    pub cpu_percent: Option<u32>,
    /// How its daemon and commands weigh where disks are shared, from 1 to 10000 where others weigh 100.
    pub io_weight: Option<u32>,
    /// Whether the configuration that its repository brings acts in its daemon.
    pub project_config: Option<ProjectConfig>,
    /// Where branches of its tasks may be pushed to, and what a partial clone lacks is fetched from: an address, never the
    /// name of a remote of the repository's, whose settings an agent may have written.
    pub remote: Option<String>,
    /// Laid over everything else.
    #[schemars(with = "Option<Map<String, Value>>")]
    pub extra_config: Option<Value>,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            path: None,
            max_servers: 5,
            server_startup_timeout_secs: 30,
            max_restart_retries: 5,
            idle_timeout_secs: 30 * 60,
            answer_timeout_secs: 60,
            wait_timeout_secs: 10 * 60,
            on_exit: OnExit::Stop,
            permissions: BTreeMap::new(),
            model: None,
            pass: Vec::new(),
            pass_to_commands: Vec::new(),
            logins: Logins::Allow,
            confine: Confine::On,
            unix_sockets: false,
            network: None,
            hosts: Vec::new(),
            presets: Vec::new(),
            loopback: Vec::new(),
            read: Vec::new(),
            write: Vec::new(),
            memory_mb: None,
            max_processes: None,
            disk_mb: None,
            cpu_percent: None,
            io_weight: None,
            project_config: ProjectConfig::default(),
            second: false,
            no_namespaces: None,
            extra_config: None,
            workspaces: BTreeMap::new(),
        }
    }
}

/// The private directory of the daemon of a workspace.
pub(crate) fn tmp(state: &Path, workspace: &str) -> PathBuf {
    state.join(format!("{workspace}.tmp"))
}

impl PoolConfig {
    /// Says what is wrong before anything is started.
    pub fn check(&self) -> Result<(), ConfigError> {
        let least = [
            ("max_servers", self.max_servers as u64),
            ("server_startup_timeout_secs", self.server_startup_timeout_secs),
            ("answer_timeout_secs", self.answer_timeout_secs),
            ("wait_timeout_secs", self.wait_timeout_secs),
        ];
        if let Some((name, _)) = least.into_iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::Zero(name));
        }
        let workspaces = || self.workspaces.values();
        let loopback = workspaces().flat_map(|w| &w.loopback).chain(&self.loopback);
        if let Some(port) = loopback.copied().find(|port| *port < LOOPBACK) {
            return Err(ConfigError::Loopback(port));
        }
        let memory = workspaces().filter_map(|w| w.memory_mb).chain(self.memory_mb).min();
        if memory.is_some_and(|memory| memory < LEAST_MEMORY) {
            return Err(ConfigError::Memory);
        }
        if workspaces().filter_map(|w| w.max_processes).chain(self.max_processes).any(|most| most == 0) {
            return Err(ConfigError::Zero("max_processes"));
        }
        if workspaces().filter_map(|w| w.disk_mb).chain(self.disk_mb).any(|most| most == 0) {
            return Err(ConfigError::Zero("disk_mb"));
        }
        if workspaces().filter_map(|w| w.cpu_percent).chain(self.cpu_percent).any(|most| most == 0) {
            return Err(ConfigError::Zero("cpu_percent"));
        }
        let mut weights = workspaces().filter_map(|w| w.io_weight).chain(self.io_weight);
        if let Some(weight) = weights.find(|weight| !(1..=HEAVIEST).contains(weight)) {
            return Err(ConfigError::Weight(weight));
        }
        let mut directories = BTreeMap::new();
        for (name, workspace) in &self.workspaces {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if name.is_empty() || name.len() > 100 || !name.chars().all(plain) {
                return Err(ConfigError::Name(name.clone()));
            }
            let directory =
                workspace.directory.canonicalize().unwrap_or_else(|_| workspace.directory.to_path_buf());
            let remote = workspace.remote.as_deref().map(|address| self.remote(address)).transpose();
            remote.map_err(|error| ConfigError::Remote(name.clone(), error))?;
            let setup = workspace.setup.as_ref();
            let setup = setup.map(|setup| {
                setup.check(workspace.isolation == Isolation::Worktree, workspace.remote.is_some())
            });
            setup.transpose().map_err(|error| ConfigError::Setup(name.clone(), error))?;
            if let Some(other) = directories.insert(directory, name) {
                return Err(ConfigError::Twice(other.clone(), name.clone()));
            }
        }
        let mut models = self.model.iter().chain(self.workspaces.values().filter_map(|w| w.model.as_ref()));
        models.try_for_each(|model| check_model(model))?;
        let doors = [&self.read, &self.write].into_iter();
        let doors = doors.chain(self.workspaces.values().flat_map(|w| [&w.read, &w.write])).flatten();
        if let Some(relative) = doors.into_iter().find(|door| !door.is_absolute()) {
            return Err(ConfigError::Relative(relative.clone()));
        }
        let mut extras =
            self.extra_config.iter().chain(self.workspaces.values().filter_map(|w| w.extra_config.as_ref()));
        extras.try_for_each(|extra| extra.as_object().map(|_| ()).ok_or(ConfigError::Extra))
    }

    /// The remote at this address: none that agents can put hooks into.
    pub fn remote(&self, address: &str) -> Result<Remote, RemoteError> {
        let remote = Remote::parse(address)?;
        let Some(path) = remote.path() else { return Ok(remote) };
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let workspaces = self.workspaces.values();
        let reach = workspaces.flat_map(|it| it.write.iter().map(PathBuf::as_path).chain([&*it.directory]));
        let mut reach = reach.chain(self.write.iter().map(PathBuf::as_path));
        let is_within = |place: &Path| {
            let place = place.canonicalize().unwrap_or_else(|_| place.to_owned());
            path.starts_with(&place) || place.starts_with(&path)
        };
        if reach.any(is_within) { Err(RemoteError::Within(path)) } else { Ok(remote) }
    }

    /// Whether the daemon of one workspace may make and reach sockets that have a path.
    pub fn unix_sockets(&self, workspace: &WorkspaceConfig) -> bool {
        workspace.unix_sockets.unwrap_or(self.unix_sockets)
    }

    /// Names the hosts of presets one by one, for a user of this environment. Blocks.
    pub fn expand_presets(&mut self, environment: &Environment) {
        for workspace in self.workspaces.values_mut() {
            for preset in self.presets.iter().copied().chain(std::mem::take(&mut workspace.presets)) {
                workspace.hosts.extend(preset.hosts(environment, &workspace.directory));
            }
        }
        self.presets.clear();
    }

    /// What of the network the daemon of one workspace reaches, as it is configured. Presets that were not
    /// [expanded](Self::expand_presets) are nothing.
    pub fn network(&self, workspace: &WorkspaceConfig) -> Network {
        let mut hosts: Vec<HostPattern> = Vec::new();
        for host in self.hosts.iter().chain(&workspace.hosts) {
            if !hosts.contains(host) {
                hosts.push(host.clone());
            }
        }
        let mut loopback: Vec<u16> = self.loopback.iter().chain(&workspace.loopback).copied().collect();
        loopback.sort_unstable();
        loopback.dedup();
        let access = workspace.network.or(self.network).unwrap_or_default();
        Network { access, hosts, loopback }
    }

    fn pass_to_commands(&self, workspace: &WorkspaceConfig) -> Vec<String> {
        self.pass_to_commands.iter().chain(&workspace.pass_to_commands).cloned().collect()
    }

    /// What the daemon of one workspace and its commands may hold.
    pub(super) fn resource_limits(&self, workspace: &WorkspaceConfig) -> ResourceLimits {
        ResourceLimits {
            memory_mb: workspace.memory_mb.or(self.memory_mb),
            processes: workspace.max_processes.or(self.max_processes),
            disk_mb: workspace.disk_mb.or(self.disk_mb),
            cpu_percent: workspace.cpu_percent.or(self.cpu_percent),
            io_weight: workspace.io_weight.or(self.io_weight),
        }
    }

    /// The daemon of one workspace.
    pub(super) fn spec(
        &self,
        name: &str,
        workspace: &WorkspaceConfig,
        around: &Surroundings,
    ) -> Result<Spec, ConfigError> {
        let mut spec = Spec::new(&around.program, &workspace.directory, around.environment.clone());
        let canonical =
            workspace.directory.canonicalize().unwrap_or_else(|_| workspace.directory.to_path_buf());
        spec.home = match &around.home {
            Home::User => Home::Own(around.state.join(format!("{name}.own"))),
            other => other.clone(),
        };
        let mut ports = super::port::candidates(&canonical);
        // These are other programs' in the daemon's own network too.
        ports.retain(|port| {
            ![&self.loopback, &workspace.loopback].iter().any(|loopback| loopback.contains(port))
        });
        spec.port = Port::FirstFree(ports);
        spec.config = self.opencode_config(workspace);
        spec.pass = self.pass.iter().chain(&workspace.pass).cloned().collect();
        spec.pass.extend(self.pass_to_commands(workspace));
        spec.logins = workspace.logins.unwrap_or(self.logins);
        spec.startup_limit = Duration::from_secs(self.server_startup_timeout_secs);
        spec.output = Some(around.state.join(format!("{name}.out")));
        spec.project = self.project(name, workspace, &around.state);
        spec.planted = self.planted(&around.state);
        spec.confinement = self.confinement(name, workspace, around, &spec)?;
        let (launcher, resource_limits) = (around.launcher.clone(), self.resource_limits(workspace));
        spec.contained = Some(Contained { launcher, resource_limits });
        Ok(spec)
    }

    /// The secrets of the daemons of all workspaces that are known before they start.
    pub fn secrets(&self, around: &Surroundings) -> Result<Vec<SecretString>, ConfigError> {
        let mut secrets = Vec::new();
        for (name, workspace) in &self.workspaces {
            secrets.extend(daemon::secrets(&self.spec(name, workspace, around)?));
        }
        Ok(secrets)
    }

    /// The set-up of the trees of one workspace, if it has any: its command has the walls of the agent's commands, and
    /// temporary files, caches and a way out of its own.
    pub fn setup(&self, name: &str, around: &Surroundings) -> Result<Option<Setup>, ConfigError> {
        let Some(workspace) = self.workspaces.get(name) else { return Ok(None) };
        let Some(setup) = workspace.setup.clone() else { return Ok(None) };
        let own = format!("{name}.setup");
        let apart = worktree::trees(&around.state, &own);
        let place = worktree::trees(&around.state, name);
        let spec = |own: &str, place: &Path| -> Result<Spec, ConfigError> {
            let mut spec = self.spec(name, workspace, around)?;
            spec.home = Home::Own(around.state.join(format!("{own}.own")));
            spec.pass = self.pass_to_commands(workspace);
            spec.project = Project::Ignored;
            let confinement = self.confinement(own, workspace, around, &spec)?;
            spec.confinement = confinement.map(|confinement| confinement.with_trees(place.to_owned()));
            Ok(spec)
        };
        let first = spec(&own, if setup.inputs.is_empty() { &place } else { &apart })?;
        // What an agent's commit puts into caches is for no other task's first run.
        let again = spec(&format!("{own}-again"), &place)?;
        let log = connector_files::Log::at(around.state.join(format!("{own}.log")));
        let wrong = |error: PatternError| ConfigError::Setup(name.to_owned(), error.into());
        let most = workspace.disk_mb.or(self.disk_mb).map(|most| most << 20);
        let remote = workspace.remote.as_deref().map(|address| self.remote(address)).transpose();
        let remote = remote.map_err(|error| ConfigError::Remote(name.to_owned(), error))?;
        Setup::new((setup, self.resource_limits(workspace), most, remote), (first, again), log, apart)
            .map(Some)
            .map_err(wrong)
    }

    /// The doors in the walls around the daemon of one workspace; none where it has no walls.
    pub fn doors(&self, name: &str, around: &Surroundings) -> Result<Vec<Door>, ConfigError> {
        let walled = self.walled(name, around)?;
        Ok(walled.map_or_else(Vec::new, |(spec, confinement)| confinement.doors(&spec)))
    }

    /// Why no daemon of one workspace is started with the doors that it would have, if none is.
    pub fn refused_doors(&self, name: &str, around: &Surroundings) -> Option<String> {
        self.walled(name, around).ok().flatten()?.1.refused()
    }

    fn walled(&self, name: &str, around: &Surroundings) -> Result<Option<(Spec, Confinement)>, ConfigError> {
        let Some(workspace) = self.workspaces.get(name) else { return Ok(None) };
        let mut spec = self.spec(name, workspace, around)?;
        Ok(spec.confinement.take().map(|confinement| (spec, confinement)))
    }

    fn confinement(
        &self,
        name: &str,
        workspace: &WorkspaceConfig,
        around: &Surroundings,
        spec: &Spec,
    ) -> Result<Option<Confinement>, ConfigError> {
        let wanted = workspace.confine.unwrap_or(self.confine);
        let launcher = match (&around.launcher, wanted) {
            (_, Confine::Off) | (None, Confine::On) => return Ok(None),
            (None, Confine::Required) => return Err(ConfigError::Unconfined(name.to_owned())),
            (Some(launcher), _) => launcher,
        };
        let mut confinement = Confinement::around(spec, launcher, tmp(&around.state, name));
        confinement.required = wanted == Confine::Required;
        confinement.unix_sockets = self.unix_sockets(workspace);
        confinement.network = self.network(workspace);
        let lists = [!self.hosts.is_empty(), !workspace.hosts.is_empty(), !self.presets.is_empty()];
        let listed = lists.contains(&true) || !workspace.presets.is_empty();
        confinement.network_is_asked_for = workspace.network.or(self.network).is_some() || listed;
        confinement.pass_to_commands = self.pass_to_commands(workspace);
        confinement.memory_mb = self.resource_limits(workspace).memory_mb;
        if workspace.isolation == Isolation::Worktree {
            confinement = confinement.with_trees(worktree::trees(&around.state, name));
            confinement.submodules = workspace.setup.as_ref().is_some_and(|setup| setup.submodules);
        }
        if let Project::Copied(copies) = &spec.project {
            confinement.walls.read.push(copies.clone());
        }
        confinement.open(self.read.iter().chain(&workspace.read), self.write.iter().chain(&workspace.write));
        Ok(Some(confinement))
    }

    /// Where any agent may write, and where the host keeps its own.
    fn planted(&self, state: &Path) -> Vec<PathBuf> {
        let of_workspaces = self.workspaces.values();
        let of_workspaces =
            of_workspaces.flat_map(|it| it.write.iter().cloned().chain([it.directory.to_path_buf()]));
        of_workspaces.chain(self.write.iter().cloned()).chain([confine::of_host(state).to_owned()]).collect()
    }

    /// The permission rules that the daemon of one workspace is given, in opencode's own form.
    pub fn permission_rules(&self, workspace: &WorkspaceConfig) -> Map<String, Value> {
        let config = self.opencode_config(workspace);
        let rules = |key: &str| Some((key.to_owned(), config.get(key)?.clone()));
        ["permission", "permissions"].into_iter().filter_map(rules).collect()
    }

    /// Where the daemon of one workspace reads the configuration of its project, with its files in `state`.
    pub fn project(&self, name: &str, workspace: &WorkspaceConfig, state: &Path) -> Project {
        match workspace.project_config.unwrap_or(self.project_config) {
            ProjectConfig::Trust => Project::AsFound,
            ProjectConfig::Ignore => Project::Ignored,
            // One of 2.x would read the copy in place of the user's own configuration.
            ProjectConfig::Ask if self.second => Project::Ignored,
            ProjectConfig::Ask => Project::Copied(state.join(format!("{name}.project"))),
        }
    }

    /// What the daemon of one workspace is given of opencode's configuration, over what its files say.
    pub fn opencode_config(&self, workspace: &WorkspaceConfig) -> Value {
        let mut config = json!({});
        let permissions: Map<String, Value> = self
            .permissions
            .iter()
            .chain(&workspace.permissions)
            .map(|(tool, action)| (tool.clone(), json!(action.word())))
            .collect();
        if !permissions.is_empty() {
            config["permission"] = Value::Object(permissions);
        }
        if let Some(model) = workspace.model.as_ref().or(self.model.as_ref()) {
            config["model"] = json!(model);
        }
        for extra in [&self.extra_config, &workspace.extra_config].into_iter().flatten() {
            crate::daemon::lay_over(&mut config, extra);
        }
        deny_execute(&mut config);
        config
    }
}

/// Denies what goes around every other rule: code of the agent's own that a server of 2.x runs by
/// itself, with the server's password within reach. 1.x has no such tool.
fn deny_execute(config: &mut Value) {
    if let Some(Value::Array(rules)) = config.get_mut("permissions") {
        rules.push(json!({ "action": "execute", "resource": "*", "effect": "deny" }));
        return;
    }
    match &mut config["permission"] {
        Value::Object(rules) => _ = rules.insert("execute".to_owned(), json!("deny")),
        Value::Null => config["permission"] = json!({ "execute": "deny" }),
        all => *all = json!({ "*": all.take(), "execute": "deny" }),
    }
}

impl Action {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

fn check_model(model: &str) -> Result<(), ConfigError> {
    match model.split_once('/') {
        Some((provider, name)) if !provider.is_empty() && !name.is_empty() => Ok(()),
        _ => Err(ConfigError::Model(model.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: Value) -> Result<PoolConfig, serde_json::Error> {
        serde_json::from_value(value)
    }

    #[test]
    fn nothing_configured_is_the_documented_defaults() {
        let config = parse(json!({})).unwrap();
        assert_eq!(
            (config.max_servers, config.server_startup_timeout_secs, config.max_restart_retries),
            (5, 30, 5)
        );
        config.check().unwrap();
    }

    #[test]
    fn unknown_keys_and_words_are_errors() {
        for wrong in [
            json!({ "max_server": 3 }),
            json!({ "workspaces": { "a": { "directory": "/a", "dir": "/b" } } }),
            json!({ "workspaces": { "a": {} } }),
            json!({ "permissions": { "bash": "yes" } }),
            json!({ "on_exit": "kill" }),
        ] {
            assert!(parse(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_before_anything_starts() {
        for (wrong, word) in [
            (json!({ "max_servers": 0 }), "max_servers"),
            (json!({ "model": "gpt" }), "provider/model"),
            (json!({ "extra_config": 7 }), "extra_config"),
            (json!({ "read": ["here"] }), "absolute"),
            (json!({ "memory_mb": 512 }), "memory_mb"),
            (json!({ "workspaces": { "a": { "directory": "/a", "max_processes": 0 } } }), "max_processes"),
            (json!({ "cpu_percent": 0 }), "`cpu_percent` must be at least 1"),
            (json!({ "io_weight": 0 }), "must be from 1 to 10000, and 0 is not"),
            (json!({ "workspaces": { "a": { "directory": "/a", "io_weight": 10001 } } }), "10001 is not"),
            (json!({ "disk_mb": 0 }), "disk_mb"),
            (json!({ "workspaces": { "../x": { "directory": "/a" } } }), "../x"),
            (json!({ "workspaces": { "a": { "directory": "/a" }, "b": { "directory": "/a" } } }), "same"),
        ] {
            let error = parse(wrong.clone()).unwrap().check().unwrap_err();
            assert!(error.to_string().contains(word), "{wrong}: {error}");
        }
    }

    #[test]
    fn objects_of_submodules_are_read_where_trees_have_submodules_and_nowhere_else() {
        let around = Surroundings {
            program: "/bin/opencode".into(),
            environment: crate::Environment::default(),
            state: "/state".into(),
            launcher: Some("/host".into()),
            home: crate::Home::User,
        };
        for (settings, read) in [
            (json!({}), false),
            (json!({ "isolation": "worktree" }), false),
            (json!({ "isolation": "worktree", "setup": { "lfs": true } }), false),
            (json!({ "isolation": "worktree", "setup": { "submodules": true } }), true),
        ] {
            let mut config = json!({ "workspaces": { "w": settings.clone() } });
            config["workspaces"]["w"]["directory"] = json!("/w");
            let config = parse(config).unwrap();
            let spec = config.spec("w", &config.workspaces["w"], &around).unwrap();
            assert_eq!(spec.confinement.unwrap().submodules, read, "{settings}");
        }
    }

    #[test]
    fn walls_are_wherever_there_is_a_launcher_and_required_ones_need_it() {
        let around = |launcher: Option<&str>| Surroundings {
            program: "/bin/opencode".into(),
            environment: crate::Environment::default(),
            state: "/state".into(),
            launcher: launcher.map(PathBuf::from),
            home: crate::Home::User,
        };
        let spec = |settings: Value, launcher| {
            let config = parse(settings).unwrap();
            config.spec("w", &config.workspaces["w"], &around(launcher))
        };
        let settings = |confine: &str| json!({ "workspaces": { "w": { "directory": "/w", "confine": confine, "read": ["/data"] } } });
        let walls = spec(settings("on"), Some("/host")).unwrap();
        let sockets =
            json!({ "unix_sockets": true, "workspaces": { "w": { "directory": "/w", "read": ["/data"] } } });
        let open = spec(sockets, Some("/host")).unwrap();
        assert_ne!(walls.digest(), open.digest(), "it is another daemon");
        assert!(open.confinement.unwrap().unix_sockets);
        let walls = walls.confinement.unwrap();
        assert!(walls.walls.read.contains(&"/data".into()) && walls.walls.write.contains(&"/w".into()));
        assert!(!walls.required && !walls.unix_sockets);
        assert!(spec(settings("required"), Some("/host")).unwrap().confinement.unwrap().required);
        assert!(spec(settings("off"), Some("/host")).unwrap().confinement.is_none());
        assert!(spec(settings("on"), None).unwrap().confinement.is_none());
        assert!(matches!(spec(settings("required"), None), Err(ConfigError::Unconfined(_))));
    }

    #[test]
    fn no_door_leads_into_the_hosts_own_state_whatever_link_it_is() {
        let root = tempfile::tempdir().unwrap();
        let state = root.path().join("state/daemons");
        std::fs::create_dir_all(&state).unwrap();
        std::fs::create_dir_all(root.path().join("open")).unwrap();
        std::fs::write(root.path().join("state/ledger.db"), "x").unwrap();
        std::os::unix::fs::symlink(root.path().join("state/ledger.db"), root.path().join("link")).unwrap();
        let around = Surroundings {
            program: "/opencode".into(),
            environment: Environment::from_iter([("HOME", root.path().join("home"))]),
            state,
            launcher: Some("/launcher".into()),
            home: Home::User,
        };
        for (door, refused) in [("open", false), ("state/ledger.db", true), ("link", true)] {
            for key in ["read", "write"] {
                let door = root.path().join(door);
                let workspaces = json!({ "w": { "directory": root.path().join("ws") } });
                let config = parse(json!({ key: [door], "workspaces": workspaces })).unwrap();
                let spec = config.spec("w", &config.workspaces["w"], &around).unwrap();
                let prepared = spec.confinement.unwrap().prepare();
                let said = prepared.err().map(|error| error.to_string()).unwrap_or_default();
                assert_eq!(said.contains("the host's own"), refused, "{key} {}: {said}", door.display());
            }
        }
    }

    #[test]
    fn no_door_is_open_by_way_of_a_link_in_a_place_where_agents_write() {
        let root = tempfile::tempdir().unwrap();
        let at = |below: &str| root.path().join(below);
        for directory in ["state/daemons", "lib/real", "secret", "open/plain", "own"] {
            std::fs::create_dir_all(at(directory)).unwrap();
        }
        std::os::unix::fs::symlink(at("secret"), at("lib/dist")).unwrap();
        std::os::unix::fs::symlink(at("lib/dist"), at("open/by-lib")).unwrap();
        std::os::unix::fs::symlink(at("secret"), at("open/mine")).unwrap();
        std::os::unix::fs::symlink(at("own"), at("named")).unwrap();
        let around = Surroundings {
            program: "/opencode".into(),
            environment: Environment::from_iter([("HOME", at("home"))]),
            state: at("state/daemons"),
            launcher: Some("/launcher".into()),
            home: Home::User,
        };
        for (door, refused) in [
            ("lib/dist", true),
            ("open/by-lib", true),
            ("lib/real", false),
            ("lib", false),
            ("open/mine", false),
            ("open/plain", false),
            ("named", false),
        ] {
            for key in ["read", "write"] {
                let config = parse(json!({
                    key: [at(door)],
                    "workspaces": { "w": { "directory": at("ws") }, "lib": { "directory": at("lib") }, "n": { "directory": at("named") } },
                }));
                let config = config.unwrap();
                let spec = config.spec("w", &config.workspaces["w"], &around).unwrap();
                let prepared = spec.confinement.unwrap().prepare();
                let said = prepared.err().map(|error| error.to_string()).unwrap_or_default();
                assert_eq!(said.contains("by way of a link"), refused, "{key} {door}: {said}");
            }
        }
        // The workspace that an agent of another one put a link for.
        for (inner, refused) in [("lib/dist", true), ("lib/real", false)] {
            let workspaces = json!({ "w": { "directory": at(inner) }, "lib": { "directory": at("lib") } });
            let config = parse(json!({ "workspaces": workspaces })).unwrap();
            let spec = config.spec("w", &config.workspaces["w"], &around).unwrap();
            let said = spec.confinement.unwrap().prepare().err().map(|error| error.to_string());
            assert_eq!(said.is_some_and(|said| said.contains("by way of a link")), refused, "{inner}");
        }
    }

    #[test]
    fn what_is_passed_to_commands_is_passed_to_the_daemon_and_makes_it_another() {
        let digest = |settings: Value| {
            let mut config = parse(settings).unwrap();
            config.workspaces.insert("w".into(), WorkspaceConfig::default());
            let environment = crate::Environment::from_iter([("KEY", "k")]);
            let around = Surroundings {
                program: "/bin/opencode".into(),
                environment,
                state: "/state".into(),
                launcher: Some("/host".into()),
                home: crate::Home::User,
            };
            let spec = config.spec("w", &config.workspaces["w"], &around).unwrap();
            assert_eq!(
                spec.child_environment(&crate::providers::Providers::of(&spec), ("", "")).get("KEY").unwrap(),
                "k"
            );
            spec.digest()
        };
        assert_ne!(digest(json!({ "pass": ["KEY"] })), digest(json!({ "pass_to_commands": ["KEY"] })));
    }

    #[test]
    fn a_workspace_wins_over_what_is_said_for_all() {
        let config = parse(json!({
            "permissions": { "bash": "ask", "edit": "allow" },
            "model": "a/b",
            "extra_config": { "username": "all" },
            "workspaces": { "w": {
                "directory": "/w", "permissions": { "bash": "deny" }, "model": "c/d",
                "extra_config": { "permission": { "webfetch": "deny" } },
            } },
        }))
        .unwrap();
        assert_eq!(
            config.opencode_config(&config.workspaces["w"]),
            json!({
                "permission": { "bash": "deny", "edit": "allow", "webfetch": "deny", "execute": "deny" },
                "model": "c/d",
                "username": "all",
            })
        );
    }

    #[test]
    fn every_daemon_is_denied_what_goes_around_its_rules() {
        for (extra, expected) in [
            (json!({}), json!({ "permission": { "execute": "deny" } })),
            (json!({ "permission": "allow" }), json!({ "permission": { "*": "allow", "execute": "deny" } })),
            (
                json!({ "permission": { "execute": "allow", "bash": "ask" } }),
                json!({ "permission": { "execute": "deny", "bash": "ask" } }),
            ),
            (
                json!({ "permissions": [{ "action": "*", "resource": "*", "effect": "allow" }] }),
                json!({ "permissions": [
                    { "action": "*", "resource": "*", "effect": "allow" },
                    { "action": "execute", "resource": "*", "effect": "deny" },
                ] }),
            ),
        ] {
            let config =
                parse(json!({ "extra_config": extra, "workspaces": { "w": { "directory": "/w" } } }));
            let config = config.unwrap();
            assert_eq!(config.opencode_config(&config.workspaces["w"]), expected);
        }
    }
}
