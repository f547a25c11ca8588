//! The first process within: makes the tree of mounts, starts the daemon, and waits for whatever ends.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode};

use connector_egress::descriptors;
use nix::sched::{CloneFlags, unshare};
use rustix::process::{Signal, WaitOptions, WaitStatus, set_parent_process_death_signal, wait};

use super::mounts;
use crate::confine::{LAUNCH, Plan, linux};

pub(super) fn launch(arguments: impl Iterator<Item = OsString>) -> Result<ExitCode, String> {
    let plan = Plan::of_environment().ok_or("there is no plan of the mounts")?;
    start(&plan, arguments).map_err(|error| format!("the tree of mounts cannot be made: {error}"))
}

fn start(plan: &Plan, arguments: impl Iterator<Item = OsString>) -> io::Result<ExitCode> {
    // When the outer process ends, so does everything here.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It ran when it said this, so the signal will come.
    descriptors::receive_line(&UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?))?;
    let (launcher, here) = (std::env::current_exe()?, std::env::current_dir()?);
    unshare(CloneFlags::CLONE_NEWNS)?;
    let namespaces = plan.namespaces.clone().unwrap_or_default();
    let mut tree = mounts::Tree::of(&plan.walls, &namespaces.tried);
    tree.hide(&plan.walls, &namespaces.private);
    tree.enter(namespaces.tmp.as_deref())?;
    std::env::set_current_dir(here)?;
    #[expect(clippy::disallowed_methods, reason = "the launcher goes on within the tree")]
    let mut daemon = Command::new(launcher);
    let mut daemon = started(daemon.arg(LAUNCH).args(arguments))?;
    // Its password is in the environment that it begins with, and opencode's own tools read what any path leads to.
    for process in [std::process::id(), daemon.id()] {
        if let Err(error) = mounts::conceal_environment(process) {
            daemon.kill()?;
            return Err(error);
        }
    }
    linux::drop_capabilities()?;
    let daemon = i32::try_from(daemon.id()).ok();
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((process, status))) if Some(process.as_raw_pid()) == daemon => return Ok(code(status)),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Starts it by a thread that has no capability; this one needs its own for a moment.
fn started(command: &mut Command) -> io::Result<Child> {
    std::thread::scope(|scope| {
        let start = || linux::drop_capabilities().map_err(io::Error::from).and_then(|()| command.spawn());
        scope.spawn(start).join().unwrap_or_else(|_| Err(io::Error::other("no thread started it")))
    })
}

/// As a shell tells it.
fn code(status: WaitStatus) -> ExitCode {
    let code = status.exit_status().or_else(|| Some(128 + status.terminating_signal()?));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

/// Tries what [`launch`] does with mounts.
pub(super) fn tried() -> ExitCode {
    let tried = unshare(CloneFlags::CLONE_NEWNS)
        .map_err(io::Error::from)
        .and_then(|()| mounts::Tree::default().enter(None));
    if tried.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
