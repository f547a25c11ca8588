//! The background service of 2.x, which chooses its password and writes down how it is reached.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use opencode_daemons::Opencode;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::{LOOPBACK_ALONE, RealError, opencode_of};
use crate::fake::Generation;
use crate::model::{Script, ScriptedModel};
use crate::scratch;
use crate::watchdog::Watchdog;

/// How long a start may take on a loaded machine.
const LIMIT: Duration = Duration::from_mins(1);

/// A running service. Dropping it ends it, its model, and everything it started.
#[derive(Debug)]
pub struct RealService {
    // Dropped in this order: the process, then its model, then what is left on disk.
    process: Process,
    model: ScriptedModel,
    opencode: Opencode,
    port: u16,
    _watchdog: Watchdog,
    root: TempDir,
}

/// Killed when it is dropped.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl RealService {
    /// Starts a service with a model that follows `script`.
    pub async fn start(script: Script) -> Result<Self, RealError> {
        let opencode = opencode_of(Generation::V2).await?;
        let root = tempfile::Builder::new().prefix("opencode-service-").tempdir()?;
        let watchdog = Watchdog::over(root.path())?;
        std::fs::create_dir(root.path().join("home"))?;
        let model = ScriptedModel::start(script)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let process = spawn(&opencode, root.path(), &model, port)?;
        let service = Self { process, model, opencode, port, _watchdog: watchdog, root };
        service.ready().await?;
        Ok(service)
    }

    /// Kills its process as a crash would, and starts it again: same home and port.
    pub async fn crash_and_restart(&mut self) -> Result<(), RealError> {
        self.process.0.kill()?;
        self.process.0.wait()?;
        std::fs::remove_file(self.file())?;
        self.process = spawn(&self.opencode, self.root.path(), &self.model, self.port)?;
        self.ready().await
    }

    /// A git repository with these files.
    pub fn workspace(&self, files: &[(&str, &str)]) -> Result<PathBuf, RealError> {
        let directory = self.root.path().join("workspace");
        scratch::repository(&directory, files)?;
        Ok(directory.canonicalize()?)
    }

    /// Where it listens, as it has written down.
    pub fn base_url(&self) -> Result<String, RealError> {
        self.written("url")
    }

    /// Its password, as it has written down.
    pub fn password(&self) -> Result<String, RealError> {
        self.written("password")
    }

    /// Its model.
    pub fn model(&self) -> &ScriptedModel {
        &self.model
    }

    /// The directory below which it keeps its state, as `XDG_STATE_HOME`.
    pub fn state_home(&self) -> PathBuf {
        state_home(self.root.path())
    }

    /// Where it writes down how it is reached.
    pub fn file(&self) -> PathBuf {
        self.state_home().join("shuvcode/service.json")
    }

    fn written(&self, key: &str) -> Result<String, RealError> {
        let file: Value =
            serde_json::from_str(&std::fs::read_to_string(self.file())?).map_err(io::Error::from)?;
        Ok(file[key].as_str().unwrap_or_default().to_owned())
    }

    async fn ready(&self) -> Result<(), RealError> {
        let until = Instant::now() + LIMIT;
        while self.written("password").is_err() || TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).is_ok()
        {
            if Instant::now() > until {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

fn state_home(root: &Path) -> PathBuf {
    root.join("home/.local/state")
}

fn spawn(opencode: &Opencode, root: &Path, model: &ScriptedModel, port: u16) -> io::Result<Process> {
    let home = root.join("home");
    #[expect(clippy::disallowed_methods, reason = "the host starts no background service")]
    let mut command = Command::new(&opencode.path);
    command
        .args(["serve", "--service", "--port", &port.to_string()])
        .current_dir(&home)
        .env_clear()
        .env("HOME", &home)
        .env("XDG_CONFIG_HOME", home.join(".config"))
        .env("XDG_DATA_HOME", home.join(".local/share"))
        .env("XDG_STATE_HOME", state_home(root))
        .env("XDG_CACHE_HOME", home.join(".cache"))
        .env("SHELL", "/bin/sh")
        .env("OPENCODE_DISABLE_AUTOUPDATE", "true")
        .env("OPENCODE_CONFIG_CONTENT", model.config().to_string())
        .envs(LOOPBACK_ALONE)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    #[expect(clippy::disallowed_methods, reason = "programs are found where this process finds them")]
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    Ok(Process(command.spawn()?))
}
