//! The outer process: makes the namespaces, and passes connections into them.

use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};

use connector_egress::descriptors;
use nix::sched::{CloneFlags, unshare};
use tokio::signal::unix::{SignalKind, signal};

use super::control::{GO, Order};
use super::{INIT, Namespaces, TRY_MOUNTS, relay, setup};
use crate::confine::{Plan, calls, linux};

/// The exit codes of a process that tried and found something missing.
pub(super) const NO_USERS: u8 = 72;
pub(super) const NO_MOUNTS: u8 = 73;

/// The daemon's port on the host's loopback, and what is said over the standard input.
struct Reached {
    daemon: TcpListener,
    port: u16,
    control: UnixStream,
    order: Order,
}

/// Makes the namespaces that the plan in the environment asks for, and ends as the daemon within does.
pub(super) fn launch(arguments: impl Iterator<Item = OsString>) -> Result<ExitCode, String> {
    let plan = Plan::of_environment().ok_or("there is no plan of the namespaces")?;
    let namespaces = plan.namespaces.ok_or("the plan has no namespaces")?;
    let reached =
        if namespaces.network { Some(reached().map_err(named("the host says nothing"))?) } else { None };
    enter(&namespaces).map_err(named("namespaces cannot be entered"))?;
    if let Some(reached) = &reached {
        within(reached).map_err(named("the network within cannot be made"))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(named("there is no runtime"))?;
    let ended = runtime.block_on(served(arguments, reached, &namespaces));
    ended.map_err(named("the daemon cannot be started within namespaces"))
}

fn named(what: &'static str) -> impl Fn(io::Error) -> String {
    move |error| format!("{what}: {error}")
}

fn reached() -> io::Result<Reached> {
    let control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (line, descriptors) = descriptors::receive_line(&control)?;
    let order = serde_json::from_slice(&line)?;
    let daemon = descriptors.into_iter().next().map(TcpListener::from);
    let daemon = daemon.ok_or_else(|| io::Error::other("no listener came"))?;
    Ok(Reached { port: daemon.local_addr()?.port(), daemon, control, order })
}

fn enter(namespaces: &Namespaces) -> io::Result<()> {
    let owner = setup::Owner::of_this_process();
    let mut flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC;
    flags.set(CloneFlags::CLONE_NEWNET, namespaces.network);
    unshare(flags)?;
    owner.map("/proc")?;
    setup::limit_further_ones(namespaces.network);
    setup::keep_right_to_mount()
}

/// Makes the listeners within, hands them to the host, and waits until the daemon may start.
fn within(reached: &Reached) -> io::Result<()> {
    setup::loopback_up()?;
    let listeners = setup::listeners(&reached.order.ports)?;
    let all: Vec<_> = listeners.iter().map(TcpListener::as_fd).collect();
    descriptors::send(&reached.control, b"listeners\n", &all)?;
    if descriptors::receive_line(&reached.control)?.0 == GO {
        return Ok(());
    }
    Err(io::Error::other("the daemon is not to start"))
}

/// Starts the first process within and passes connections on until it ends.
async fn served(
    arguments: impl Iterator<Item = OsString>,
    reached: Option<Reached>,
    namespaces: &Namespaces,
) -> io::Result<ExitCode> {
    // The daemon is asked to end with its whole process group; this process ends after it.
    let _terminate = signal(SignalKind::terminate())?;
    let (ours, theirs) = UnixStream::pair()?;
    #[expect(clippy::disallowed_methods, reason = "the launcher goes on within the namespaces")]
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(INIT).args(arguments).stdin(Stdio::from(OwnedFd::from(theirs)));
    let mut command = tokio::process::Command::from(command);
    let mut first = command.spawn()?;
    // The other ends of the pair are all within now, and none is left when nothing runs there.
    drop(command);
    descriptors::send(&ours, GO, &[])?;
    if let Some(reached) = reached {
        let listeners = descriptors::receive_line(&ours).map(|(_, listeners)| listeners).unwrap_or_default();
        for (listener, port) in listeners.into_iter().zip(&namespaces.command_ports) {
            relay::spawn(listener.into(), *port)?;
        }
        relay::spawn(reached.daemon, reached.port)?;
    }
    confine().map_err(io::Error::other)?;
    let status = first.wait().await?;
    // What listens within may do so until the last moment.
    drop(ours);
    Ok(ExitCode::from(
        status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(super::super::launcher::FAILED),
    ))
}

/// From now on this process passes bytes on and does nothing else.
fn confine() -> Result<(), String> {
    linux::open_nothing().map_err(|error| error.to_string())?;
    if calls::known() {
        calls::refuse(calls::Open::default()).map_err(|error| error.to_string())?;
    }
    linux::drop_capabilities().map_err(|error| error.to_string())
}

/// Tries what [`launch`] and the process within do, and says by its code what is missing.
pub(super) fn tried() -> ExitCode {
    let namespaces = Namespaces { network: true, ..Namespaces::default() };
    if enter(&namespaces).and_then(|()| setup::loopback_up()).is_err() {
        return ExitCode::from(NO_USERS);
    }
    let Ok(launcher) = std::env::current_exe() else { return ExitCode::FAILURE };
    #[expect(clippy::disallowed_methods, reason = "the launcher goes on within the namespaces")]
    let status = Command::new(launcher).arg(TRY_MOUNTS).status();
    if status.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::from(NO_MOUNTS) }
}
