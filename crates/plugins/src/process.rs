//! One process within walls: started, and ended.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use connector_sandbox::{Plan, Start, Walls};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
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
}

/// A process. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    /// Ends with its standard error, and has the last line of that.
    log: JoinHandle<String>,
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
        let log = tokio::spawn(crate::log::keep(name.to_owned(), stderr));
        Ok((Process { child, log }, (stdout, stdin)))
    }
}

impl Process {
    /// Its number, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// How a process that ended by itself left, and the last line it said, without what its
    /// configuration holds. Nothing if it is still there.
    pub(crate) async fn last_words(&mut self, config: &Value) -> String {
        let Ok(Ok(status)) = timeout(LEAVE, self.child.wait()).await else { return String::new() };
        let said = timeout(LEAVE, &mut self.log).await.ok().and_then(Result::ok).unwrap_or_default();
        let said = without(&said, config);
        if said.is_empty() { format!(" ({status})") } else { format!(" ({status}: {said})") }
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

/// A process's words without the texts of its configuration: any of them may be a secret.
fn without(said: &str, config: &Value) -> String {
    match config {
        Value::String(text) if !text.is_empty() => said.replace(text, "…"),
        Value::Array(items) => items.iter().fold(said.to_owned(), |said, item| without(&said, item)),
        Value::Object(fields) => fields.values().fold(said.to_owned(), |said, item| without(&said, item)),
        _ => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_process_said_shows_nothing_of_its_configuration() {
        let config = json!({ "token": "hunter2", "more": [{ "deep": "s3cret" }, 7], "none": "" });
        assert_eq!(without("panicked at hunter2: s3cret 7", &config), "panicked at …: … 7");
    }
}
