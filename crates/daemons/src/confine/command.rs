//! The process that starts a command within its walls, and waits for it: it passes on what the command prints, so that it can say of
//! one that failed what the walls [refused](super::refusals).
//!
//! It is where the daemon is, outside the walls of the command. What the command leaves running goes on printing.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};

use tokio::io::Interest;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::{LAUNCH, Plan, launcher, refusals};

/// The first argument that makes our binary this process.
pub(crate) const COMMAND: &str = "--run-command-within-walls";
/// The first argument of a process that passes on what is printed after the command's end.
pub(crate) const PASS_ON: &str = "--pass-on";
/// The variable with the file in which refusals are put on record; commands do not get it.
pub(crate) const RECORD: &str = "OPENCODE_DAEMONS_REFUSALS";
/// How much of the end of what was printed is looked at.
const LOOKED_AT: usize = 32 << 10;

/// How much of what is printed is passed on before it is looked whether the command has ended. It is what a pipe holds, so all that a
/// command printed itself is passed on after its end, and none that others print after it.
const AT_ONCE: usize = 64 << 10;

/// Runs the command of these arguments.
pub(super) fn run(arguments: impl Iterator<Item = OsString>) -> Result<ExitCode, String> {
    let arguments: Vec<OsString> = arguments.collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ran = runtime.and_then(|runtime| runtime.block_on(watched(arguments)));
    ran.map_err(|error| format!("the command cannot be started: {error}"))
}

/// Passes its input on to its output until it ends.
pub(super) fn pass_on() -> ExitCode {
    let _ = io::copy(&mut io::stdin(), &mut io::stdout());
    ExitCode::SUCCESS
}

async fn watched(arguments: Vec<OsString>) -> io::Result<ExitCode> {
    // It ends when the command does, and with its status.
    let _terminated = signal(SignalKind::terminate())?;
    let (of_output, output) = io::pipe()?;
    let (of_errors, errors) = io::pipe()?;
    #[expect(clippy::disallowed_methods, reason = "the launcher starts itself")]
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg(LAUNCH)
        .args(arguments)
        .env_remove(RECORD)
        .stdout(Stdio::from(output))
        .stderr(Stdio::from(errors));
    let mut child = command.spawn()?;
    drop(command);
    let mut streams = [Stream::of(of_output.into(), false)?, Stream::of(of_errors.into(), true)?];
    let status = loop {
        let [output, errors] = &mut streams;
        tokio::select! {
            status = child.wait() => break status?,
            () = output.ready() => output.pass(),
            () = errors.ready() => errors.pass(),
        }
    };
    // All that it printed itself is here.
    streams.iter_mut().for_each(Stream::pass);
    if !status.success() {
        tell(&streams);
    }
    // The status is the command's, whatever becomes of what it left.
    for stream in streams {
        let _ = stream.leave();
    }
    Ok(ExitCode::from(code(status)))
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(launcher::FAILED)
}

/// Says what the walls refused.
fn tell(streams: &[Stream; 2]) {
    let Some(plan) = Plan::of_environment() else { return };
    #[expect(clippy::disallowed_methods, reason = "whose home it is comes in the environment")]
    let (home, record) = (std::env::var_os("HOME"), std::env::var_os(RECORD));
    let Some(home) = home.map(PathBuf::from).filter(|home| home.is_absolute()) else { return };
    let mut walls = plan.walls;
    let tree = plan.trees.as_deref().and_then(launcher::own_tree);
    let name =
        tree.as_ref().and_then(|tree| tree.file_name()).map(|name| name.to_string_lossy().into_owned());
    walls.write.extend(tree);
    let doors = refusals::Doors::of(&walls);
    let closed = streams.iter().flat_map(|stream| {
        let text = String::from_utf8_lossy(&stream.end).into_owned();
        refusals::in_output(&text, &doors, &home)
    });
    let closed = closed.collect();
    let _ = io::stderr().write_all(refusals::words(&closed, &home).as_bytes());
    if let Some(record) = record.filter(|_| !closed.is_empty()) {
        let _ =
            refusals::keep(&closed, (home.as_path(), name.as_deref().unwrap_or_default()), record.as_ref());
    }
}

/// What a command prints on one of its two ways.
struct Stream {
    /// Closed once it has ended, or nobody listens any more: that is how the command finds out.
    from: Option<Receiver>,
    to_errors: bool,
    /// The end of it.
    end: Vec<u8>,
}

impl Stream {
    fn of(pipe: OwnedFd, to_errors: bool) -> io::Result<Self> {
        Ok(Self { from: Some(Receiver::from_owned_fd(pipe)?), to_errors, end: Vec::new() })
    }

    async fn ready(&self) {
        match &self.from {
            // One that is broken is found to be so when it is read.
            Some(from) => _ = from.ready(Interest::READABLE).await,
            None => std::future::pending().await,
        }
    }

    /// Passes on what is there, up to what a pipe holds.
    fn pass(&mut self) {
        let (mut buffer, mut passed_on) = ([0; 16 << 10], 0);
        while let Some(from) = self.from.as_ref().filter(|_| passed_on < AT_ONCE) {
            match from.try_read(&mut buffer) {
                Ok(0) => self.from = None,
                Ok(length) => {
                    passed_on += length;
                    let part = &buffer[..length];
                    let passed = if self.to_errors {
                        written(io::stderr(), part)
                    } else {
                        written(io::stdout(), part)
                    };
                    self.end.extend_from_slice(part);
                    let before = self.end.len().saturating_sub(LOOKED_AT);
                    self.end.drain(..before);
                    if passed.is_err() {
                        self.from = None;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.from = None,
            }
        }
    }

    /// Leaves what may still come to another process.
    fn leave(self) -> io::Result<()> {
        let Some(from) = self.from else { return Ok(()) };
        let pipe = from.into_blocking_fd()?;
        #[expect(clippy::disallowed_methods, reason = "the launcher starts itself")]
        let mut command = std::process::Command::new(std::env::current_exe()?);
        command.arg(PASS_ON).stdin(Stdio::from(pipe)).stderr(Stdio::null());
        if self.to_errors {
            command.stdout(Stdio::from(io::stderr()));
        }
        command.spawn().map(drop)
    }
}

fn written(mut to: impl Write, part: &[u8]) -> io::Result<()> {
    to.write_all(part)?;
    to.flush()
}
