//! One process within walls: started, and ended.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use connector_sandbox::{Plan, Start, Walls};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

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
}

/// A process. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
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
        tokio::spawn(crate::log::keep(name.to_owned(), stderr));
        Ok((Process { child }, (stdout, stdin)))
    }
}

impl Process {
    /// Its number, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it leaves, asks it to, and kills it: bounded, whatever it does.
    pub(crate) async fn end(mut self) {
        for signal in [Signal::TERM, Signal::KILL] {
            if let Ok(left) = tokio::time::timeout(LEAVE, self.child.wait()).await {
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
