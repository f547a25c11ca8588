//! One process within walls: started, and ended.

use std::cmp::Reverse;
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

use crate::log::plain;

/// How long a process may take to leave after its pipes are closed, and again after it was asked to.
const LEAVE: Duration = Duration::from_secs(2);

/// How much of a process's last line is told, in characters.
const LAST: usize = 300;

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
        let said = last_line(&said, config);
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

/// Shortened last: a cut before would leave part of a secret.
fn last_line(said: &str, config: &Value) -> String {
    without(said, config).chars().take(LAST).collect()
}

/// A process's words without the texts of its configuration, any of which may be a secret: the
/// longest go first, since a shorter one may be part of them.
fn without(said: &str, config: &Value) -> String {
    let mut texts = Vec::new();
    gather(config, &mut texts);
    texts.sort_unstable_by_key(|text| Reverse(text.len()));
    texts.iter().fold(said.to_owned(), |said, text| said.replace(text, "…"))
}

/// The texts of `config`, each of their lines as a log shows it.
fn gather(config: &Value, texts: &mut Vec<String>) {
    match config {
        Value::String(text) => {
            let lines = text.split('\n').map(|line| plain(line.as_bytes()));
            texts.extend(lines.filter(|line| !line.is_empty()));
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, texts)),
        Value::Object(fields) => fields.values().for_each(|item| gather(item, texts)),
        _ => {}
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
        let parts = json!({ "name": "bot", "token": "bot-hunter2", "key": "BEGIN\nk3y\n" });
        assert_eq!(without("bot-hunter2 of bot: k3y", &parts), "… of …: …");
        let said = format!("{}hunter2", "x".repeat(LAST - 3));
        assert_eq!(last_line(&said, &config), said.replace("hunter2", "…"));
    }
}
