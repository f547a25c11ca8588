//! The launcher: our binary, started again, on its way to become a plugin.
//!
//! The host starts its own binary with [`Plan::arguments`], an empty environment and three pipes.
//! [`within`], called first thing in `main`, closes what else was inherited, puts up the walls, and
//! then either lets the caller serve a built-in connector or becomes the plan's program. Either
//! happens before a byte of input is read, and nothing unsafe is needed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::held::Held;
use crate::walls::{Walls, WallsError};

/// The first argument that makes our binary a launcher.
const LAUNCH: &str = "--plugin-within-walls";
/// The exit code of a launcher that could not put up its walls or start its program.
pub const FAILED: u8 = 71;

/// What the launcher is told, as its one other argument. It holds no secret: whoever can list
/// processes can read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The walls.
    pub walls: Walls,
    /// Whether to refuse to start where the kernel cannot hold them all.
    pub required: bool,
    /// The process that is to end it: when that is gone, so is the plugin.
    pub parent: u32,
    /// What runs within.
    pub start: Start,
}

/// What runs within the walls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Start {
    /// A connector that this binary contains.
    BuiltIn {
        /// Its name.
        name: String,
    },
    /// A program of somebody else's.
    Program {
        /// The file. It is copied, compared, and the copy is what runs.
        path: PathBuf,
        /// The SHA-256 of its bytes in lower-case hexadecimal.
        sha256: String,
    },
}

/// A built-in connector's process, within its walls.
#[derive(Debug)]
pub struct Within {
    /// The connector to serve.
    pub name: String,
    /// The walls that hold.
    pub held: Held,
}

/// Why nothing runs.
#[derive(Debug, thiserror::Error)]
enum LaunchError {
    #[error("the plan cannot be read")]
    Plan(#[source] serde_json::Error),
    #[error("the environment is not empty")]
    Environment,
    #[error(transparent)]
    Walls(#[from] WallsError),
    #[error("{path} cannot be run")]
    Program {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl Plan {
    /// The arguments with which to start a binary that calls [`within`].
    pub fn arguments(&self) -> [OsString; 2] {
        let plan = serde_json::to_string(self).unwrap_or_default();
        [LAUNCH.into(), plan.into()]
    }
}

/// To be called first thing in `main` with the process's arguments, before any thread is started
/// and anything is opened.
///
/// `Ok(None)`: this is no launch. `Ok(Some(within))`: the walls are up, and this process is the
/// connector's. `Err`: to be returned from `main`; the reason has been printed. When the plan is a
/// program's, it returns only to say why that does not run.
pub fn within(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Within>, ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next().is_none_or(|first| first != LAUNCH) {
        return Ok(None);
    }
    let plan = arguments.next().unwrap_or_default();
    launch(&plan.to_string_lossy()).map(Some).map_err(|error| {
        #[expect(clippy::print_stderr, reason = "the plugin's log is where its starter looks")]
        {
            eprintln!("cannot launch within walls: {}", chain(&error));
        }
        ExitCode::from(FAILED)
    })
}

fn launch(plan: &str) -> Result<Within, LaunchError> {
    let plan: Plan = serde_json::from_str(plan).map_err(LaunchError::Plan)?;
    if std::env::vars_os().next().is_some() {
        return Err(LaunchError::Environment);
    }
    #[cfg(target_os = "linux")]
    {
        crate::linux::close_the_rest()?;
        crate::linux::end_with_parent(plan.parent)?;
    }
    match plan.start {
        Start::BuiltIn { name } => Ok(Within { name, held: put_up(&plan.walls, plan.required)? }),
        Start::Program { path, sha256 } => Err(become_program(&plan.walls, plan.required, path, &sha256)),
    }
}

fn put_up(walls: &Walls, required: bool) -> Result<Held, WallsError> {
    let held = walls.put_up()?;
    if required && !held.is_whole() { Err(WallsError::Missing(held)) } else { Ok(held) }
}

/// Returns only when it fails.
#[cfg(target_os = "linux")]
fn become_program(walls: &Walls, required: bool, path: PathBuf, sha256: &str) -> LaunchError {
    use std::os::fd::AsRawFd as _;
    use std::os::unix::process::CommandExt as _;

    let copy = match crate::linux::sealed_copy(&path, sha256) {
        Ok(copy) => copy,
        Err(source) => return LaunchError::Program { path, source },
    };
    if let Err(error) = put_up(walls, required) {
        return error.into();
    }
    let descriptor = format!("/proc/self/fd/{}", copy.as_raw_fd());
    #[expect(clippy::disallowed_methods, reason = "the launcher becomes the plugin")]
    let source = std::process::Command::new(descriptor).arg0(&path).exec();
    LaunchError::Program { path, source }
}

#[cfg(not(target_os = "linux"))]
fn become_program(_walls: &Walls, _required: bool, path: PathBuf, _sha256: &str) -> LaunchError {
    let source = std::io::Error::other("programs of others run within walls only, and this system has none");
    LaunchError::Program { path, source }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
