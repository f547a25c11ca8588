//! Linux namespaces around a daemon and everything it starts, beneath Landlock and the filter of system calls.
//!
//! The launcher becomes three processes. The [outer](outer) one stays where the host is: it is what the
//! host knows as the daemon, holds the port on the host's loopback, and passes what comes there on to the
//! daemon's own. It makes user, PID, IPC and, unless the network is open, network namespaces. Its child is the
//! first process in them, the [init](init): it makes a [tree of mounts](mounts) with nothing but what the
//! daemon may open, waits for the daemon, and takes everything along when it ends. Its child puts up
//! the walls that are made of Landlock and becomes opencode.
//!
//! The agent's commands have a further user and network namespace below the daemon's, one for all of them, so that
//! one may serve what another asks for. A [process](commands) that does nothing else holds it; it is joined
//! by the launcher of each command. The ports that commands reach in there are the egress proxy's and those of the host's
//! loopback that were named; the daemon's is not among them.
//!
//! A socket stays in the network namespace that it was made in, whoever holds it. So listeners go from process to
//! process: the host's into the outer process, and those made within to the egress proxies, which are outside.

mod commands;
mod control;
mod init;
mod mounts;
mod outer;
mod relay;
mod setup;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

pub(super) use commands::{hold, join};
pub(crate) use control::Control;

/// The first argument of the outer process.
pub(crate) const ENTER: &str = "--launch-within-namespaces";
/// The first arguments of the processes within.
pub(super) const INIT: &str = "--init-of-namespaces";
pub(super) const HOLD: &str = "--hold-network-of-commands";
/// The first argument of a process that tries whether there can be namespaces.
pub(super) const TRY: &str = "--try-namespaces";
pub(super) const TRY_MOUNTS: &str = "--try-mounts";

/// Where, in a network namespace of its own, a daemon finds its model proxy, and it and its commands the egress
/// proxy. Nobody within may bind ports as low as these, and no client refuses to use them.
pub(crate) const MODELS: u16 = 1022;
pub(crate) const PROXY: u16 = 1023;

/// Processes by number and nothing else, writable for the launcher of the commands' network.
pub(super) const OWN_PROC: &str = "/.proc";

/// What the namespaces of a daemon are like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Namespaces {
    /// Whether it has a network of its own, with a further one for its commands.
    pub(super) network: bool,
    /// The ports that commands reach.
    pub(super) command_ports: Vec<u16>,
    /// What is `/tmp` within.
    pub(super) tmp: Option<PathBuf>,
    /// Below these, what not everybody may read is not there.
    pub(super) private: Vec<PathBuf>,
    /// What may only be read, and is not mounted so: opencode tries to write there and goes on when it is not permitted, which
    /// is what Landlock tells it, and not when there is a read-only file system.
    pub(super) tried: Vec<PathBuf>,
}

/// What a system does not let an ordinary program have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// Namespaces of users, and so all others.
    Users,
    /// A tree of mounts of its own, with its own `/proc`.
    Mounts,
    /// It could not be tried.
    Untried,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Users => {
                "this system lets programs of yours have no user namespaces; what allows them is, depending on the \
                 system, `sysctl kernel.unprivileged_userns_clone=1`, `user.max_user_namespaces` above 0, or an AppArmor \
                 profile with `userns` for this binary (`kernel.apparmor_restrict_unprivileged_userns`)"
            }
            Self::Mounts => {
                "this system lets programs of yours mount no `/proc` of their own; in a container, its `/proc` must not be \
                 masked (`--security-opt systempaths=unconfined`, or `procMount: Unmasked`)"
            }
            Self::Untried => "namespaces could not be tried",
        })
    }
}

/// What keeps daemons that `launcher` starts from having namespaces; nothing when they can. It is tried once, in a
/// process of its own, and blocks meanwhile; what could not be tried is tried again.
pub fn missing(launcher: &Path) -> Option<Missing> {
    static KNOWN: Mutex<BTreeMap<PathBuf, Option<Missing>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.get(launcher) {
        return *known;
    }
    let missing = tried(launcher);
    if missing != Some(Missing::Untried) {
        known.insert(launcher.to_owned(), missing);
    }
    missing
}

fn tried(launcher: &Path) -> Option<Missing> {
    #[expect(clippy::disallowed_methods, reason = "what daemons are started by is tried")]
    let mut command = Command::new(launcher);
    command.arg(TRY).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status().ok().and_then(|status| status.code()) {
        Some(0) => None,
        Some(code) if code == i32::from(outer::NO_USERS) => Some(Missing::Users),
        Some(code) if code == i32::from(outer::NO_MOUNTS) => Some(Missing::Mounts),
        _ => Some(Missing::Untried),
    }
}

/// What the launcher does with these arguments, if they are for one of the processes here: the code to end
/// with, or why it fails.
pub(super) fn launch(
    first: &str,
    mut arguments: impl Iterator<Item = std::ffi::OsString>,
) -> Option<Result<std::process::ExitCode, String>> {
    Some(match first {
        ENTER => outer::launch(arguments),
        INIT => init::launch(arguments),
        HOLD => commands::serve(&arguments.next().unwrap_or_default()),
        TRY => Ok(outer::tried()),
        TRY_MOUNTS => Ok(init::tried()),
        _ => return None,
    })
}
