//! The `opencode serve` processes of this host.
//!
//! [`install`] finds an opencode binary or installs the pinned one; [`Daemon`] starts it in one
//! directory, proves that it is the one that answers, and ends it with everything it started.
//! [`Daemon::adopt_or_start`] finds a daemon again that an earlier host left behind.
//!
//! Trust is placed in processes, never in ports: the password is random, travels in the
//! environment only, and is sent to a port after the operating system has said that our own
//! process listens there.
//!
//! Never does: talk to models, start turns, decide what runs.

pub mod confine;
pub mod daemon;
pub mod diagnosis;
pub mod disk;
pub mod environment;
pub mod install;
pub mod keys;
pub mod pool;
pub mod project;
pub mod providers;
pub mod registry;
pub mod version;
pub mod worktree;

mod cgroup;
mod egress;
mod health;
mod output_log;
mod own_package;
mod place;
mod process;
mod random;
mod record;
mod redact;
mod resource_limits;
mod user_config;

pub use cgroup::leave_for_leaf;
pub use connector_egress::{HostPattern, Record as EgressRecord, Usage};
pub use daemon::{Adopted, Daemon, Home, Port, Spec, StartError};
pub use diagnosis::Diagnosis;
pub use environment::Environment;
pub use install::{InstallError, Locate, Opencode, Progress, Source};
pub use keys::Logins;
pub use pool::{Lease, Pool, PoolConfig, PoolError};
pub use user_config::decisive;
pub use worktree::{Worktree, WorktreeError, Worktrees};

/// Where what went through the egress proxies of a workspace's daemon is on record; `state` is as in
/// [`pool::Surroundings`].
pub fn egress_record(state: &std::path::Path, workspace: &str) -> std::path::PathBuf {
    egress::record(&pool::tmp(state, workspace))
}

/// Where the paths that the walls refused to commands of a workspace are on record, while its daemon runs; `state` is as in
/// [`pool::Surroundings`].
pub fn refusal_record(state: &std::path::Path, workspace: &str) -> std::path::PathBuf {
    confine::refusals::record(&pool::tmp(state, workspace).with_extension("daemon-tmp"))
}

/// What is on such a record, in the order in which it was refused: lines for [`offered_paths`].
pub fn refused_paths(record: &std::path::Path) -> Vec<String> {
    confine::refusals::on_record(record)
}

/// Of such lines of a `record`, the paths that the user of this environment may want to open: those that commands in `tree` named,
/// or in the workspace itself, and that are there. None holds credentials.
pub fn offered_paths(
    lines: &[String],
    record: &std::path::Path,
    tree: Option<&std::path::Path>,
    environment: &Environment,
) -> Vec<String> {
    confine::refusals::offered(lines, record, tree, environment)
}

/// To be called first thing in `main`, with the process's arguments, before any thread is started: the
/// launchers of walls and into groups, and the process of a daemon's egress proxies. Returns nothing when this is neither.
pub fn relaunch(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Option<std::process::ExitCode> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    connector_egress::process::relaunch(arguments.iter().cloned())
        .or_else(|| cgroup::relaunch(arguments.iter().cloned()))
        .or_else(|| confine::relaunch(arguments))
}
