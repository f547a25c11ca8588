//! Walls around a daemon and everything it starts, held by the kernel (Landlock, Linux).
//!
//! Within the walls, the system and the toolchains can be read and executed; the workspace, the
//! daemon's own state and a private temporary directory can also be written; nothing else can be
//! opened. Processes outside can be neither signalled nor inspected; sockets that have a path, by
//! which session managers and container runtimes run what they are told outside, are not made; capabilities
//! are given up, and no privileges can be gained. The walls are put up by a [launcher](relaunch): our own
//! binary, started again, which confines itself and then becomes opencode, so that nothing unsafe is needed.
//!
//! Beneath them are [namespaces], where the system allows them: nothing but what is open exists within, no process
//! outside is seen, and the [network](Network) is as wide as it is configured.

mod caches;
#[cfg(target_os = "linux")]
mod calls;
mod command;
mod doors;
mod git;
mod launcher;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub mod namespaces;
#[cfg(not(target_os = "linux"))]
#[path = "confine/no_namespaces.rs"]
pub mod namespaces;
mod network;
mod presets;
pub(crate) mod refusals;
pub(crate) mod servers;
pub(crate) mod settings;
pub(crate) mod shell;
mod tool;
mod toolchains;

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use opencode_api::PASSWORD_VARIABLES;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use caches::Caches;
pub use doors::{Door, Opens, Whom};
pub(crate) use git::{Located, Misplaced, located, with_borrowed};
pub use launcher::relaunch;
use namespaces::Namespaces;
pub use network::{Access, Network};
pub use presets::Preset;
pub(crate) use tool::{LAUNCH_TOOL, TOOL_PLAN, Tool};

use crate::daemon::{Home, OWN, Spec};
use crate::environment::Environment;
use crate::keys;
use crate::place::Held;
use crate::project::Project;
use crate::user_config;

/// The first argument that makes our binary a launcher.
pub(crate) const LAUNCH: &str = "--launch-within-walls";
/// The variable with the launcher's plan; taken out before opencode starts.
pub(crate) const PLAN: &str = "OPENCODE_DAEMONS_WALLS";

/// The variable with the number of the process that holds the network of the commands. The daemon has it,
/// and the launcher of its commands.
const HOLDER: &str = "OPENCODE_DAEMONS_NETWORK";

/// What the system needs to run programs.
const SYSTEM: [&str; 15] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt",
    "/etc",
    "/nix",
    "/snap",
    "/proc",
    "/sys",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/var/lib/dpkg",
];
/// Where the system has its settings, among which are keys that only root may read.
const SETTINGS: &str = "/etc";
/// Devices that programs write to as a matter of course. No terminals: all of a user's are in one
/// directory, and who can open one reads what is typed there and writes what is shown.
const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/shm"];
/// Harmless settings of git's, file by file: git keeps `credentials` beside these.
const OF_GIT: [&str; 4] =
    [".gitconfig", ".config/git/config", ".config/git/ignore", ".config/git/attributes"];
const OPENCODE_DIRECTORIES: [(&str, &str); 4] = [
    ("XDG_DATA_HOME", ".local/share"),
    ("XDG_STATE_HOME", ".local/state"),
    ("XDG_CACHE_HOME", ".cache"),
    ("XDG_CONFIG_HOME", ".config"),
];

/// Which files can be opened. What is on neither list cannot be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Walls {
    /// Read and executed, with everything below.
    pub read: Vec<PathBuf>,
    /// Read, executed and written, with everything below.
    pub write: Vec<PathBuf>,
}

/// How a daemon is confined.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a wall of its own")]
pub struct Confinement {
    /// A binary that calls [`relaunch`] first thing; usually our own.
    pub launcher: PathBuf,
    /// What stays reachable.
    pub walls: Walls,
    /// Whether to refuse to run where the kernel cannot hold the walls.
    pub required: bool,
    /// Whether sockets that have a path can be made and reached, wherever they are.
    pub unix_sockets: bool,
    /// The private temporary directory of the agent's commands; made when it is missing. The daemon's own is beside
    /// it.
    pub tmp: PathBuf,
    /// What of the network it reaches.
    pub network: Network,
    /// Whether that was asked for, and is refused where it cannot be held.
    pub network_is_asked_for: bool,
    /// Whether namespaces are beneath the walls.
    namespaced: bool,
    /// Which of the variables that the daemon was passed by name its agent's commands get too.
    pub pass_to_commands: Vec<String>,
    /// Where the shell of the agent's commands is, which they can read and run, and not change;
    /// made when it is missing.
    shell: PathBuf,
    /// The user's shell, as which it runs them.
    runs_as: PathBuf,
    /// Where package managers have what they fetched, in place of the user's own caches.
    caches: Option<Caches>,
    /// How much data each process of the agent's commands may hold, in MiB.
    pub memory_mb: Option<u64>,
    /// What it serves. The repository of a linked worktree stays reachable with it.
    workspace: PathBuf,
    /// The home of its own, if it has one.
    home: Option<PathBuf>,
    /// The home of the user, which no door opens.
    home_of_user: Option<PathBuf>,
    /// What only the daemon opens, and none of its agent's commands.
    of_daemon: Vec<PathBuf>,
    /// Where the daemon tries to write what it may only read.
    tried: Vec<PathBuf>,
    /// What the daemon was passed by name, beyond what all processes get.
    passed: Vec<String>,
    /// What the agent's commands have in place of what the daemon has: `export` and `unset`.
    of_commands: String,
    /// The user's configuration of opencode, to be made when it is missing.
    configuration: Option<PathBuf>,
    /// Where its tasks have their working trees, in place of the workspace.
    trees: Option<PathBuf>,
    /// Whether those have submodules, whose objects can be read then.
    pub submodules: bool,
    /// What is to be read because the configuration says so.
    asked: Vec<PathBuf>,
    /// What is to be written because it says so.
    asked_to_write: Vec<PathBuf>,
    /// Where agents write, and where the host keeps its own.
    planted: Vec<PathBuf>,
}

/// How much of the walls this kernel can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kernel {
    /// All of them.
    Whole,
    /// Those around files; processes outside can be signalled, or sockets reached.
    Files,
    /// None.
    None,
}

/// How much of the walls this kernel can hold. Nothing is confined by asking.
pub fn kernel() -> Kernel {
    #[cfg(target_os = "linux")]
    let kernel = linux::kernel();
    #[cfg(not(target_os = "linux"))]
    let kernel = Kernel::None;
    kernel
}

/// What the launcher is told.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a wall of its own")]
struct Plan {
    walls: Walls,
    required: bool,
    #[serde(default)]
    unix_sockets: bool,
    /// Of what is below it, only the one in which the program starts can be opened.
    #[serde(default)]
    trees: Option<PathBuf>,
    /// How much data the program and each one it starts may hold, in MiB.
    #[serde(default)]
    memory_mb: Option<u64>,
    /// The variables that the program does not get.
    #[serde(default)]
    unset: Vec<String>,
    /// The namespaces of a daemon.
    #[serde(default)]
    namespaces: Option<Namespaces>,
    /// Whether it joins the network of the daemon's commands.
    #[serde(default)]
    joins: bool,
    /// Whether what System V shares is shared with nobody outside.
    #[serde(default)]
    own_ipc: bool,
}

impl Plan {
    /// The plan that the launcher was started with.
    fn of_environment() -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "the launcher's plan comes in its environment")]
        let plan = std::env::var(PLAN).ok()?;
        serde_json::from_str(&plan).ok()
    }
}

impl Walls {
    /// The usual walls around a daemon. The binary, the toolchains on `PATH` and at home, and the
    /// system can be read; the workspace and opencode's own directories can be written.
    pub fn around(spec: &Spec) -> Self {
        let mut walls = Self::of_programs(&spec.environment, &planted(spec));
        walls.read.extend(install_of(&spec.program));
        let home = spec.environment.get("HOME").map(PathBuf::from);
        match &spec.home {
            Home::Isolated(directory) => walls.write.push(directory.clone()),
            Home::User => walls.write.extend(own_directories(spec, home.as_deref())),
            Home::Own(own) => {
                walls.write.push(own.clone());
                walls.read.extend(user_config::doors(spec));
            }
        }
        walls.write.push(spec.directory.clone());
        walls
    }
}

impl Walls {
    /// Whether something that is there is open, to read at least.
    fn open(&self, path: &Path) -> bool {
        let Ok(real) = path.canonicalize() else { return false };
        let mut doors = self.read.iter().chain(&self.write).filter_map(|door| door.canonicalize().ok());
        doors.any(|door| real.starts_with(door))
    }

    /// What programs of the system and the user's toolchains need to run, and nothing of a daemon's, nor what is reached
    /// by way of what agents may have `planted`.
    pub(crate) fn of_programs(environment: &Environment, planted: &[PathBuf]) -> Self {
        let mut walls = Self::default();
        let home = environment.get("HOME").map(PathBuf::from);
        walls.write.extend(DEVICES.map(PathBuf::from));
        for directory in SYSTEM.map(PathBuf::from) {
            walls.read.extend(without_home(directory, home.as_deref()));
        }
        // What leads to the user's home on `PATH` would open all of it.
        walls.read.extend(toolchains::doors(environment, planted));
        let of_git = home.iter().flat_map(|home| OF_GIT.map(|name| home.join(name)));
        walls.read.extend(toolchains::past(planted, environment.trusted().into_iter().chain(of_git)));
        walls
    }
}

impl Walls {
    /// With the doors also by where they lead now: what becomes a link later opens nothing.
    fn with_what_they_lead_to(mut self) -> Self {
        for doors in [&mut self.read, &mut self.write] {
            let real = doors.iter().filter_map(|door| door.canonicalize().ok());
            let real: Vec<_> = real.filter(|real| !doors.contains(real)).collect();
            doors.extend(real);
        }
        self
    }
}

/// Where a link may be of an agent's.
fn planted(spec: &Spec) -> Vec<PathBuf> {
    spec.planted.iter().chain([&spec.directory]).cloned().collect()
}

/// Whether what is at or below `door` has `home` in it, by their names or by where these lead.
fn leads_to(door: &Path, home: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    home.starts_with(door) || real(home).starts_with(real(door))
}

/// A directory of the system; where somebody's home is in it, what is beside the way there.
fn without_home(directory: PathBuf, home: Option<&Path>) -> Vec<PathBuf> {
    let Some(home) = home.filter(|home| leads_to(&directory, home)) else { return vec![directory] };
    if directory.is_symlink() || directory.canonicalize().ok() == home.canonicalize().ok() {
        return Vec::new();
    }
    let below = std::fs::read_dir(&directory).into_iter().flatten().flatten();
    below.flat_map(|entry| without_home(entry.path(), Some(home))).collect()
}

/// The plan of a launcher that puts up `walls` as far as the kernel can.
pub(crate) fn plan_of(walls: Walls) -> String {
    written(&Plan { walls: walls.with_what_they_lead_to(), ..Plan::default() })
}

impl Confinement {
    /// The usual walls, private files in `tmp`, and the kernel's help if there is any.
    pub fn around(spec: &Spec, launcher: impl Into<PathBuf>, tmp: impl Into<PathBuf>) -> Self {
        let (tmp, launcher) = (tmp.into(), launcher.into());
        let walls = Walls::around(spec);
        Self {
            shell: tmp.with_extension("shell"),
            runs_as: shell::of_user(&spec.environment, &walls),
            // Another home has caches of its own.
            caches: matches!(spec.home, Home::Own(_)).then(|| Caches::beside(&tmp, &spec.environment)),
            namespaced: namespaces::missing(&launcher).is_none(),
            network: Network::default(),
            network_is_asked_for: false,
            launcher,
            walls,
            required: false,
            unix_sockets: false,
            memory_mb: None,
            pass_to_commands: Vec::new(),
            passed: passed(spec),
            workspace: spec.directory.clone(),
            home: match &spec.home {
                Home::Isolated(home) => Some(home.clone()),
                Home::User | Home::Own(_) => None,
            },
            home_of_user: spec.environment.get("HOME").map(PathBuf::from).filter(|home| home.is_absolute()),
            of_daemon: of_daemon(spec),
            tried: tried(spec),
            of_commands: of_commands(spec),
            configuration: user_config::of_user(spec).filter(|_| matches!(spec.home, Home::Own(_))),
            tmp,
            trees: None,
            submodules: false,
            asked: Vec::new(),
            asked_to_write: Vec::new(),
            planted: planted(spec),
        }
    }

    /// The same for tasks that have their working trees in `trees`: they write there and in place
    /// of the workspace, which can be read. The agent's commands reach one tree each, the one that
    /// they are started in.
    #[must_use]
    pub fn with_trees(mut self, trees: PathBuf) -> Self {
        self.walls.write.retain(|path| *path != self.workspace);
        self.walls.read.push(self.workspace.clone());
        self.trees = Some(trees);
        self
    }

    /// Opens what the configuration says is to be read, and what is to be written.
    pub(crate) fn open<'a>(
        &mut self,
        read: impl Iterator<Item = &'a PathBuf>,
        write: impl Iterator<Item = &'a PathBuf>,
    ) {
        self.asked.extend(read.cloned());
        self.walls.read.extend(self.asked.iter().cloned());
        self.asked_to_write.extend(write.cloned());
        self.walls.write.extend(self.asked_to_write.iter().cloned());
    }

    /// The daemon's own private temporary directory. opencode loads libraries from there.
    pub(crate) fn tmp_of_daemon(&self) -> PathBuf {
        self.tmp.with_extension("daemon-tmp")
    }

    /// Refuses what was asked for by name and cannot be held without namespaces.
    pub(crate) fn check(&self) -> io::Result<()> {
        let Some(missing) = namespaces::missing(&self.launcher).filter(|_| !self.namespaced) else {
            return Ok(());
        };
        let asked = if self.required {
            "`confine = \"required\"`"
        } else if self.network_is_asked_for && self.network.access != Access::Open {
            "`network`"
        } else {
            return Ok(());
        };
        Err(io::Error::other(format!("{asked} needs namespaces, and {missing}")))
    }

    /// Whether the daemon has namespaces.
    pub(crate) fn is_namespaced(&self) -> bool {
        self.namespaced
    }

    /// Whether the daemon has a network of its own.
    pub(crate) fn has_own_network(&self) -> bool {
        self.namespaced && self.network.access != Access::Open
    }

    /// The variables by which programs find the egress proxy.
    pub(crate) fn proxy_variables(&self) -> Vec<(&'static str, String)> {
        if self.has_own_network() { network::proxy_variables(namespaces::PROXY) } else { Vec::new() }
    }

    /// The shell that opencode runs the agent's commands with: walls of its own within the
    /// daemon's, so that a command can neither see the daemon's password nor read it from the
    /// daemon's process, and therefore cannot answer the asks that are about it. It becomes the [process](command) that waits for the
    /// command, without the password in what it began with, and ends with a status of its own: opencode takes no notice of one that
    /// was killed. It goes by the name of the shell that it runs commands as, which opencode tells the agent.
    pub(crate) fn shell(&self) -> PathBuf {
        self.shell.join(self.runs_as.file_name().unwrap_or("sh".as_ref()))
    }

    /// The shell that commands are run as.
    pub(crate) fn runs_as(&self) -> &Path {
        &self.runs_as
    }

    /// Where package managers have their caches; nothing where they have the user's.
    pub(crate) fn caches(&self) -> Option<&Path> {
        self.caches.as_ref().map(|caches| caches.place.as_path())
    }

    /// Makes what belongs in caches that were emptied while the daemon runs.
    pub(crate) fn fill_caches(&self) -> io::Result<()> {
        self.caches.as_ref().map_or(Ok(()), Caches::fill)
    }

    /// Makes what must exist before the walls go up: a wall only has doors to what is there.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&self.tmp)?;
        renewed(&self.tmp_of_daemon(), &builder)?;
        builder.create(&self.shell)?;
        self.caches.as_ref().map_or(Ok(()), Caches::prepare)?;
        if let Some(why) = self.refused() {
            return Err(io::Error::other(why));
        }
        write_program(&self.shell(), &self.shell_script())?;
        let own = self.walls.write.iter().filter(|path| path.ends_with("opencode"));
        let mut ours = own.chain(&self.home).chain(&self.trees).chain(&self.configuration);
        ours.try_for_each(|path| builder.create(path))
    }

    /// Why no daemon is started with these doors, if none is.
    pub fn refused(&self) -> Option<String> {
        self.opens_the_hosts_own().or_else(|| self.opens_by_a_link()).or_else(|| self.opens_home())
    }

    /// A command that could rewrite the shell would decide what walls the next one has; and one that
    /// could read what is beside it would know the passwords of all daemons.
    fn opens_the_hosts_own(&self) -> Option<String> {
        let shell = self.shell.canonicalize().unwrap_or_else(|_| self.shell.clone());
        let state = shell.parent().unwrap_or(&shell);
        // The host's own files are its alone, one by one too.
        let host = of_host(state);
        let asked = self.asked.iter().chain(&self.asked_to_write);
        let mut asked = asked.filter_map(|door| Some((door, door.canonicalize().ok()?)));
        if let Some((door, real)) = asked.find(|(_, real)| real.starts_with(host)) {
            return Some(format!(
                "{} leads to {}, which is the host's own: `read` and `write` open nothing there",
                door.display(),
                real.display()
            ));
        }
        let door_to = |kept: &Path, doors: &[PathBuf]| {
            let mut doors = doors.iter().filter_map(|door| door.canonicalize().ok());
            doors.find(|door| kept.starts_with(door))
        };
        let (kept, door, does, remedy) = if let Some(door) = door_to(&shell, &self.walls.write) {
            (shell.as_path(), door, "write", "choose another state directory or workspace")
        } else {
            let remedy = "open less of it, or choose another state directory";
            (state, door_to(state, &self.walls.read)?, "read", remedy)
        };
        let (kept, door) = (kept.display(), door.display());
        Some(format!("{kept} is within {door}, where the agent can {does}: {remedy}"))
    }

    fn opens_by_a_link(&self) -> Option<String> {
        let mut asked = self.asked.iter().chain(&self.asked_to_write).chain([&self.workspace]);
        let door = toolchains::led_to(&self.planted, &mut asked)?;
        Some(format!(
            "{} is open by way of a link that an agent may have put there: name what it leads to",
            door.display()
        ))
    }

    /// Why the daemon would be given all of the user's home directory, if it would.
    fn opens_home(&self) -> Option<String> {
        let home = self.home_of_user.as_deref()?;
        let mut doors = self.walls.read.iter().chain(&self.walls.write);
        let door = doors.find(|door| leads_to(door, home))?;
        Some(format!(
            "{} is open, and your home directory {} is in it, with all that is kept there: open less of it",
            door.display(),
            home.display()
        ))
    }

    fn shell_script(&self) -> String {
        let set = |(name, value): (String, String)| format!("export {name}={}\n", quoted(&value));
        let own = self.caches.as_ref().map_or_else(String::new, |caches| {
            let proxy = self.has_own_network().then_some(namespaces::PROXY);
            let options = caches.java_options(proxy).into_iter().filter(|(_, options)| !options.is_empty());
            let options = options.map(|(name, options)| {
                format!("export {name}={}\"${{{name}:+ ${name}}}\"\n", quoted(options.trim_start()))
            });
            let programs = caches.programs().into_iter().map(|path| path.to_string_lossy().into_owned());
            let path = format!(
                "export PATH=\"$PATH\"{}\n",
                quoted(&format!(":{}", programs.collect::<Vec<_>>().join(":")))
            );
            caches.variables().into_iter().map(set).chain(options).chain([path]).collect()
        });
        let runs_as = self.runs_as.to_string_lossy();
        // The launcher takes out all that commands do not get; what waits for them is not to have it either.
        let mut unset = self.plan_for(true).unset;
        unset.retain(|name| is_identifier(name));
        // Until there is a process that tells how a command ended, nothing ends by a signal.
        format!(
            "#!/bin/sh\ntrap '' TERM\nunset {} OPENCODE_CONFIG_CONTENT {} {}\n{}{own}\
             export TMPDIR={} SHELL={} {PLAN}={} {}={}\n\
             exec {} {} {} \"$@\"\n",
            PASSWORD_VARIABLES.join(" "),
            keys::VARIABLE,
            unset.join(" "),
            self.of_commands,
            quoted(&self.tmp.to_string_lossy()),
            quoted(&runs_as),
            quoted(&self.plan_of_commands()),
            command::RECORD,
            quoted(&refusals::record(&self.tmp_of_daemon()).to_string_lossy()),
            quoted(&self.launcher.to_string_lossy()),
            command::COMMAND,
            quoted(&runs_as),
        )
    }

    /// The plan of the daemon's launcher.
    pub(crate) fn plan(&self) -> String {
        written(&self.plan_for(false))
    }

    /// The plan of the launcher that the shell of the agent's commands is.
    pub(crate) fn plan_of_commands(&self) -> String {
        written(&self.plan_for(true))
    }

    /// What the daemon may, or one of the agent's commands.
    fn plan_for(&self, command: bool) -> Plan {
        let mut walls = self.walls.clone();
        walls.read.extend([self.launcher.clone(), self.shell.clone()]);
        walls.write.push(self.tmp.clone());
        if let Some(caches) = &self.caches {
            walls.write.push(caches.place.clone());
            walls.read.push(caches.settings.clone());
        }
        if command {
            walls.read.retain(|path| !self.of_daemon.contains(path));
            walls.write.retain(|path| !self.of_daemon.contains(path));
        } else {
            walls.write.push(self.tmp_of_daemon());
        }
        let mut trees = None;
        match &self.trees {
            None => walls.write.extend(git::common_directory(&self.workspace, &walls.write)),
            Some(all) => {
                walls.read.extend(git::objects(&self.workspace, self.submodules));
                if command {
                    trees = Some(all.clone());
                } else {
                    walls.write.push(all.clone());
                }
            }
        }
        let memory_mb = self.memory_mb.filter(|_| command);
        let proxied = self.proxy_variables();
        let ours = |name: &String| proxied.iter().any(|(variable, _)| variable == name);
        let kept = self.passed.iter().filter(|name| command && !self.pass_to_commands.contains(name));
        let kept = kept.filter(|name| !ours(name));
        let unset = kept.cloned().collect();
        let own_network = self.has_own_network();
        let namespaces = (self.namespaced && !command).then(|| {
            walls.write.push(PathBuf::from(namespaces::OWN_PROC));
            let command_ports = if own_network { self.network.command_ports() } else { Vec::new() };
            let (tmp, tried) = (Some(self.tmp.clone()), self.tried.clone());
            // Everybody else may not read it anyway.
            let private = if geteuid().is_root() { vec![PathBuf::from(SETTINGS)] } else { Vec::new() };
            Namespaces { network: own_network, command_ports, tmp, private, tried }
        });
        Plan {
            walls: walls.with_what_they_lead_to(),
            required: self.required,
            unix_sockets: self.unix_sockets,
            trees,
            memory_mb,
            unset,
            namespaces,
            joins: own_network && command,
            own_ipc: self.namespaced,
        }
    }
}

/// Whether a shell takes it for the name of a variable.
fn is_identifier(name: &str) -> bool {
    let begins = |letter: u8| letter.is_ascii_alphabetic() || letter == b'_';
    name.bytes().next().is_some_and(begins)
        && name.bytes().all(|letter| begins(letter) || letter.is_ascii_digit())
}

/// As the launcher reads it.
fn written(plan: &Plan) -> String {
    serde_json::to_string(plan).unwrap_or_default()
}

/// The host's state directory, of which `state` is the part that daemons have.
pub(crate) fn of_host(state: &Path) -> &Path {
    state.parent().filter(|_| state.ends_with("daemons")).unwrap_or(state)
}

/// Makes a directory anew. opencode takes libraries that it finds in its temporary directory for those that it put there,
/// and its own tools write wherever a link in a repository leads.
fn renewed(directory: &Path, builder: &std::fs::DirBuilder) -> io::Result<()> {
    let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    builder.create(parent)?;
    Held::over(parent)?.clear(Path::new(name))?;
    builder.create(directory)
}

/// Written beside and renamed, because another process may be running it.
fn write_program(path: &Path, text: &str) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let permissions = std::fs::Permissions::from_mode(0o700);
    let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(parent)?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

/// One word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A binary through its links, and the package that it belongs to. Never the directory that it is
/// in for its own sake: that may be the user's home.
fn install_of(program: &Path) -> Vec<PathBuf> {
    let Ok(binary) = program.canonicalize() else { return Vec::new() };
    let modules =
        binary.ancestors().find(|directory| directory.ends_with("node_modules")).map(Path::to_owned);
    [modules, Some(program.to_owned()), Some(binary)].into_iter().flatten().collect()
}

fn passed(spec: &Spec) -> Vec<String> {
    let usual = spec.environment.allowed(&[]);
    spec.pass.iter().filter(|name| usual.get(name.as_str()).is_none()).cloned().collect()
}

/// A command that could read or write these would see keys, and could change what the daemon runs
/// outside the walls that are around commands.
fn of_daemon(spec: &Spec) -> Vec<PathBuf> {
    let Home::Own(own) = &spec.home else { return Vec::new() };
    std::iter::once(own.clone()).chain(user_config::doors(spec)).collect()
}

/// opencode puts files of its own beside configuration that it reads.
fn tried(spec: &Spec) -> Vec<PathBuf> {
    let configuration = match &spec.home {
        Home::Own(own) => Some(user_config::directory(own)),
        Home::User | Home::Isolated(_) => None,
    };
    let project = match &spec.project {
        Project::Copied(copies) => Some(copies.clone()),
        Project::AsFound => Some(spec.directory.clone()),
        Project::Ignored => None,
    };
    configuration.into_iter().chain(project).collect()
}

/// Commands have the user's directories again, so that tools find what is theirs; a cache that can be written is among
/// those of package managers.
fn of_commands(spec: &Spec) -> String {
    if !matches!(spec.home, Home::Own(_)) {
        return String::new();
    }
    let value = |(variable, _): (&str, &str)| match spec.environment.get(variable) {
        Some(value) => format!("export {variable}={}\n", quoted(&value.to_string_lossy())),
        None => format!("unset {variable}\n"),
    };
    OWN.into_iter().chain([(user_config::VARIABLE, "")]).map(value).collect()
}

fn own_directories(spec: &Spec, home: Option<&Path>) -> Vec<PathBuf> {
    let base = |(variable, below): (&str, &str)| {
        spec.environment.get(variable).map(PathBuf::from).or_else(|| home.map(|home| home.join(below)))
    };
    OPENCODE_DIRECTORIES.into_iter().filter_map(base).map(|base| base.join("opencode")).collect()
}
