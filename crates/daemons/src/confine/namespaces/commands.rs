//! The network of the agent's commands: a user and a network namespace below the daemon's.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};

use connector_egress::descriptors;
use nix::sched::{CloneFlags, setns, unshare};

use super::{HOLD, OWN_PROC, setup};
use crate::confine::linux;

/// Starts the process that holds the network of the commands, and says its number. To be called within the
/// walls of the daemon: who is to join the network must be let look at that process.
pub(in crate::confine) fn hold(ports: &[u16]) -> io::Result<u32> {
    let ports = serde_json::to_string(ports)?;
    #[expect(clippy::disallowed_methods, reason = "the launcher starts itself")]
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(HOLD).arg(ports).env_clear().stdout(Stdio::piped());
    let mut holder = command.spawn()?;
    let mut ready = [0; 1];
    match holder.stdout.take().map(|mut output| output.read_exact(&mut ready)) {
        Some(Ok(())) => Ok(holder.id()),
        _ => Err(io::Error::other("nobody holds it")),
    }
}

/// Is that process. Its standard input leads to the outer process, which gets the listeners and passes what
/// comes to them on to the same ports of the daemon's loopback.
pub(super) fn serve(ports: &OsStr) -> Result<ExitCode, String> {
    let ports: Vec<u16> =
        serde_json::from_str(&ports.to_string_lossy()).map_err(|error| format!("no ports: {error}"))?;
    held(&ports).map_err(|error| format!("the network of commands cannot be made: {error}"))
}

fn held(ports: &[u16]) -> io::Result<ExitCode> {
    let outer = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let owner = setup::Owner::of_this_process();
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    owner.map(OWN_PROC)?;
    setup::loopback_up()?;
    let listeners = setup::listeners(ports)?;
    let all: Vec<_> = listeners.iter().map(TcpListener::as_fd).collect();
    descriptors::send(&outer, b"listeners\n", &all)?;
    drop(listeners);
    linux::drop_capabilities()?;
    io::stdout().write_all(b"+")?;
    io::stdout().flush()?;
    // Until the outer process ends.
    (&outer).read_to_end(&mut Vec::new())?;
    Ok(ExitCode::SUCCESS)
}

/// Joins the network that the process `holder` holds.
pub(in crate::confine) fn join(holder: &str) -> io::Result<()> {
    let open = |kind: &str| File::open(format!("/proc/{holder}/ns/{kind}"));
    let (user, network) = (open("user")?, open("net")?);
    setns(user, CloneFlags::CLONE_NEWUSER)?;
    setns(network, CloneFlags::CLONE_NEWNET)?;
    Ok(())
}
