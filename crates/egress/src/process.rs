//! The process of the proxies: our binary, started again.
//!
//! Its standard input is one end of a pair of sockets. Over it come the plan, with the listeners as
//! descriptors, and later the daemon that it is for: it ends with that daemon, or when its starter
//! goes before there was one. Keys are thus in no argument, no environment and no file. Starting it
//! is the caller's: [`Control::pair`] gives it the standard input to start it with.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::descriptors;
use crate::plan::Plan;
use crate::server::{Listeners, serve};

/// The first argument that makes our binary this process.
const SERVE: &str = "--serve-egress";
/// A longer plan is none.
const LONGEST: u64 = 16 << 20;
/// How long the process may take to say that it serves.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// The exit code of a process that could not serve.
const FAILED: u8 = 71;

/// The starter's end. Dropping it ends the process, unless it was told of its daemon.
#[derive(Debug)]
pub struct Control(UnixStream);

/// What comes over the standard input before the plan.
#[derive(Serialize, Deserialize)]
struct Head {
    /// How long the plan is, in bytes.
    plan: u64,
    models: bool,
    network: bool,
    loopback: usize,
}

impl Control {
    /// The arguments with which to start a binary that calls [`relaunch`].
    pub fn arguments() -> [&'static str; 1] {
        [SERVE]
    }

    /// This end, and the standard input of the process.
    pub fn pair() -> io::Result<(Self, Stdio)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(READY_WITHIN))?;
        ours.set_write_timeout(Some(READY_WITHIN))?;
        Ok((Self(ours), Stdio::from(OwnedFd::from(theirs))))
    }

    /// Hands the plan over, and waits until the process serves it. Blocks.
    pub fn hand_over(&mut self, plan: &Plan, listeners: &Listeners) -> io::Result<()> {
        let text = serde_json::to_vec(plan)?;
        let (models, network) = (listeners.models.is_some(), listeners.network.is_some());
        let loopback = listeners.loopback.len();
        let mut head = serde_json::to_vec(&Head { plan: text.len() as u64, models, network, loopback })?;
        head.push(b'\n');
        let all = listeners.models.iter().chain(&listeners.network).chain(&listeners.loopback);
        let sockets: Vec<_> = all.map(TcpListener::as_fd).collect();
        descriptors::send(&self.0, &head, &sockets)?;
        self.0.write_all(&text)?;
        let mut ready = [0];
        match self.0.read(&mut ready)? {
            1 => Ok(()),
            _ => Err(io::Error::other("the process of the proxies ended; the daemon's log says why")),
        }
    }

    /// Says which process it is for: it ends when that one does, and not before.
    pub fn tie_to(mut self, pid: u32) -> io::Result<()> {
        self.0.write_all(&pid.to_be_bytes())
    }
}

/// To be called first thing in `main`, with the process's arguments. Returns nothing when this is no
/// process of proxies, and otherwise at its end; why it could not serve has been printed then.
pub fn relaunch(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    if arguments.into_iter().nth(1).is_none_or(|first| first != SERVE) {
        return None;
    }
    Some(match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the daemon's log is where its starter looks")]
            {
                eprintln!("the egress proxies cannot be served: {error}");
            }
            ExitCode::from(FAILED)
        }
    })
}

fn run() -> io::Result<()> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let mut input = UnixStream::from(stdin);
    let (plan, listeners) = receive(&mut input)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            served = serve(plan, listeners) => served.map(|never| match never {}),
            ended = until_it_ends(input) => ended,
        }
    })
}

/// The plan, and the listeners that came with its first bytes.
fn receive(input: &mut UnixStream) -> io::Result<(Plan, Listeners)> {
    let (line, descriptors) = descriptors::receive_line(input)?;
    let head: Head = serde_json::from_slice(&line)?;
    if head.plan > LONGEST {
        return Err(io::Error::other("the plan is too long"));
    }
    let mut text = Vec::new();
    input.take(head.plan).read_to_end(&mut text)?;
    let plan = serde_json::from_slice(&text)?;
    let mut descriptors = descriptors.into_iter().map(TcpListener::from);
    let mut next = |wanted: bool| if wanted { descriptors.next() } else { None };
    let (models, network) = (next(head.models), next(head.network));
    Ok((plan, Listeners { models, network, loopback: descriptors.take(head.loopback).collect() }))
}

/// Says that it serves, hears of its daemon and waits for that one's end.
async fn until_it_ends(input: UnixStream) -> io::Result<()> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    input.set_nonblocking(true)?;
    let mut input = tokio::net::UnixStream::from_std(input)?;
    input.write_all(b"+").await?;
    let mut pid = [0; 4];
    if input.read_exact(&mut pid).await.is_err() {
        // The starter is gone, and there is no daemon.
        return Ok(());
    }
    let pid = i32::try_from(u32::from_be_bytes(pid)).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("the daemon has no number"))?;
    end_of(pid).await
}

/// Waits for the end of a process.
#[cfg(target_os = "linux")]
async fn end_of(process: Pid) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{PidfdFlags, pidfd_open};

    let process = match pidfd_open(process, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let (tell, ended) = tokio::sync::oneshot::channel();
    let waits = move || {
        let mut wanted = [PollFd::new(&process, PollFlags::IN)];
        let ended = loop {
            match poll(&mut wanted, None) {
                Err(rustix::io::Errno::INTR) => {}
                ended => break ended,
            }
        };
        let _ = tell.send(ended);
    };
    std::thread::Builder::new().name("daemon".into()).spawn(waits)?;
    ended.await.map_err(io::Error::other)?.map(drop).map_err(Into::into)
}

#[cfg(not(target_os = "linux"))]
async fn end_of(process: Pid) -> io::Result<()> {
    while rustix::process::test_kill_process(process).is_ok() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}
