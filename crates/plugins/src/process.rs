//! One process within walls: started, and ended.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use connector_files::Log;
use connector_sandbox::{Plan, Start, Walls};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a process may take to leave after its pipes are closed, and again after it was asked to.
const LEAVE: Duration = Duration::from_secs(2);

/// What is started for a connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// A binary that calls [`connector_sandbox::launch::within`] first thing; usually our own.
    pub launcher: PathBuf,
    /// What becomes of it.
    pub start: Start,
    /// Whether to refuse to start where the kernel cannot hold every wall.
    pub required: bool,
    /// Where what it says on standard error is kept, for the owner's eyes: it may hold anything. Dropped when
    /// absent.
    pub said: Option<Log>,
}

/// A process. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    /// Ends with its standard error, and says whether anything was kept.
    log: JoinHandle<bool>,
    said: Option<Log>,
}

/// Its two pipes.
pub(crate) type Pipes = (ChildStdout, ChildStdin);

impl Program {
    /// Starts it in a process group of its own, so that a key pressed at the host's terminal does
    /// not reach it, with an empty environment and three pipes.
    pub(crate) fn start(&self, name: &str, walls: Walls) -> io::Result<(Process, Pipes)> {
        let plan =
            Plan { walls, required: self.required, parent: std::process::id(), start: self.start.clone() };
        #[expect(clippy::disallowed_methods, reason = "the one place that starts plugins")]
        let mut command = Command::new(&self.launcher);
        command.args(plan.arguments()).env_clear().current_dir("/").process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("it has no pipes"));
        };
        let log = tokio::spawn(crate::log::keep(name.to_owned(), stderr, self.said.clone()));
        Ok((Process { child, log, said: self.said.clone() }, (stdout, stdin)))
    }
}

impl Process {
    /// Its number, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// How a process that ended by itself left, and where its words are kept. Nothing if it is still there.
    pub(crate) async fn last_words(&mut self) -> String {
        let Ok(Ok(status)) = timeout(LEAVE, self.child.wait()).await else { return String::new() };
        let kept = timeout(LEAVE, &mut self.log).await.ok().and_then(Result::ok).unwrap_or_default();
        let mut told = status.to_string();
        if status.code() == Some(i32::from(connector_sandbox::launch::FAILED)) {
            told.push_str(": its walls cannot be put up, or its file is not the one that is granted");
        }
        if let Some(said) = self.said.as_ref().filter(|_| kept) {
            told.push_str(&format!("; what it said is in {}, for your eyes", said.path().display()));
        }
        format!(" ({told})")
    }

    /// Waits until it leaves, asks it to, and kills it: bounded, whatever it does.
    pub(crate) async fn end(mut self) {
        for signal in [Signal::TERM, Signal::KILL] {
            if let Ok(left) = timeout(LEAVE, self.child.wait()).await {
                tracing::debug!(?left, "a connector's process ended");
                return;
            }
            let group = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
            if let Some(group) = group {
                let _ = kill_process_group(group, signal);
            }
        }
        let _ = self.child.wait().await;
    }
}
