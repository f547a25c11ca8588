//! The program as a server of HTTP.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr};

use crate::client::BINARY;

/// What the clients of these tests carry.
pub(crate) const TOKEN: &str = "f3b1c6a0d95e4c27b8a1f3b1c6a0d95e";

const LIMIT: Duration = Duration::from_mins(1);

/// A running server, which is killed when it is dropped.
pub(crate) struct Served {
    pub(crate) url: String,
    child: Child,
    errors: Lines<BufReader<ChildStderr>>,
    pub(crate) said: Vec<String>,
    _directory: tempfile::TempDir,
}

impl Served {
    /// Starts it at a free port.
    pub(crate) async fn start(arguments: &[&str], environment: &serde_json::Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file: PathBuf = directory.path().join("token");
        std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
        let own = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, own).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the program is what is tested")]
        let mut command = tokio::process::Command::new(BINARY);
        command.args(arguments).args(["--http", "0", "--http-token-file"]).arg(&file).env_clear();
        for (name, value) in environment.as_object().unwrap() {
            command.env(name, value.as_str().unwrap());
        }
        let mut child =
            command.stderr(Stdio::piped()).stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let url = loop {
            let line = tokio::time::timeout(LIMIT, errors.next_line()).await.unwrap().unwrap();
            let line = line.unwrap_or_else(|| panic!("it does not listen: {said:?}"));
            said.push(line.clone());
            if let Some((_, url)) = line.split_once("listening at ") {
                break url.trim().to_owned();
            }
        };
        Self { url, child, errors, said, _directory: directory }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://").trim_end_matches("/mcp")
    }

    /// Tells it to leave; how it did, and what it said.
    pub(crate) async fn stop(mut self) -> (ExitStatus, String) {
        let id = Pid::from_raw(i32::try_from(self.id()).unwrap()).unwrap();
        rustix::process::kill_process(id, Signal::TERM).unwrap();
        while let Ok(Some(line)) = tokio::time::timeout(LIMIT, self.errors.next_line()).await.unwrap() {
            self.said.push(line);
        }
        let status = tokio::time::timeout(LIMIT, self.child.wait()).await.unwrap().unwrap();
        (status, self.said.join("\n"))
    }
}
