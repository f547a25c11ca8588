//! A real `opencode serve` with a scripted model, in a directory of its own.
//!
//! [`RealDaemon::start`] gives a test a daemon of its own; [`RealDaemon::shared`] gives all tests
//! of one binary the same one, since each costs seconds and half a gigabyte: they keep apart by
//! prompt and by [`workspace`](RealDaemon::workspace). Nothing is left running when the value is
//! dropped, when a test panics, or when the process is killed.
//!
//! Finds opencode as the host does, and installs it when there is none: no test is skipped. One
//! test runs on both generations of opencode's API when it takes a [`Generation`]: the launcher, the
//! model's scripts and what a test asks of a daemon are the same.

mod newer;
mod service;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opencode_daemons::{Daemon, Environment, Home, InstallError, Locate, Opencode, Port, Spec, StartError};
use rustix::process::{Pid, Signal};
use secrecy::SecretString;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::fake::Generation;
use crate::model::{Script, ScriptedModel};
use crate::scratch;
use crate::watchdog::Watchdog;

pub use newer::ENVIRONMENT as LOOPBACK_ALONE;
pub use service::RealService;

/// How long a start may take on a loaded machine.
const STARTUP_LIMIT: Duration = Duration::from_mins(2);

/// Why there is no daemon to test with.
#[derive(Debug, thiserror::Error)]
pub enum RealError {
    /// There is no opencode.
    #[error("no opencode to test with")]
    Install(#[from] InstallError),
    /// The server of 2.x cannot be fetched.
    #[error("no opencode 2.x to test with: {0}")]
    Fetch(String),
    /// It does not start.
    #[error("the real daemon does not start")]
    Start(#[from] StartError),
    /// Files, git or the scripted model.
    #[error("the surroundings of the real daemon cannot be made")]
    Io(#[from] std::io::Error),
}

/// A real daemon. Dropping it ends it, its model, and everything it started.
#[derive(Debug)]
pub struct RealDaemon {
    // Dropped in this order: the process, then its model, then what is left on disk.
    daemon: Option<Daemon>,
    model: ScriptedModel,
    spec: Spec,
    opencode: Opencode,
    generation: Generation,
    workspaces: AtomicUsize,
    _watchdog: Watchdog,
    root: TempDir,
}

impl RealDaemon {
    /// Starts a 1.x daemon with a model that follows `script`.
    pub async fn start(script: Script) -> Result<Self, RealError> {
        Self::start_on(Generation::V1, script).await
    }

    /// The same for a generation.
    pub async fn start_on(generation: Generation, script: Script) -> Result<Self, RealError> {
        Self::with_on(generation, script, |_| {}).await
    }

    /// [`start`](Self::start), with a last word on the daemon's [`Spec`], such as permissions in its
    /// `config`.
    pub async fn with(script: Script, adjust: impl FnOnce(&mut Spec)) -> Result<Self, RealError> {
        Self::with_on(Generation::V1, script, adjust).await
    }

    /// The same for a generation.
    pub async fn with_on(
        generation: Generation,
        script: Script,
        adjust: impl FnOnce(&mut Spec),
    ) -> Result<Self, RealError> {
        Self::of(opencode_of(generation).await?, generation, script, adjust).await
    }

    /// [`start`](Self::start) with another published `release` of 1.x than the pinned one, installed
    /// beside it.
    pub async fn of_release(release: &str, script: Script) -> Result<Self, RealError> {
        let environment = Environment::of_this_process();
        let locate = Locate { search_path: false, release: release.to_owned(), ..Locate::new(environment) };
        let opencode = opencode_daemons::install::locate(&locate, |_| {}).await?;
        Self::of(opencode, Generation::V1, script, |_| {}).await
    }

    async fn of(
        opencode: Opencode,
        generation: Generation,
        script: Script,
        adjust: impl FnOnce(&mut Spec),
    ) -> Result<Self, RealError> {
        let root = tempfile::Builder::new().prefix("opencode-real-").tempdir()?;
        let watchdog = Watchdog::over(root.path())?;
        let home = root.path().join("home");
        std::fs::create_dir(&home)?;
        let workspace = root.path().join("workspace");
        scratch::repository(&workspace, &[("README.md", "# Scratch\n")])?;
        let model = ScriptedModel::start(script)?;
        let mut spec = Spec::new(&opencode.path, workspace, Environment::of_this_process());
        if generation == Generation::V2 {
            loopback_alone(&mut spec);
        }
        spec.home = Home::Isolated(home);
        spec.config = model.config();
        spec.startup_limit = STARTUP_LIMIT;
        adjust(&mut spec);
        let daemon = Daemon::start(spec.clone()).await?;
        let workspaces = AtomicUsize::new(0);
        Ok(Self {
            daemon: Some(daemon),
            model,
            spec,
            opencode,
            generation,
            workspaces,
            _watchdog: watchdog,
            root,
        })
    }

    /// The 1.x daemon that all tests of this process share; started by the first, ended with the
    /// process. Its script is empty: each test [adds](ScriptedModel::add) turns for prompts that no
    /// other test uses.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub async fn shared() -> &'static Self {
        Self::shared_on(Generation::V1).await
    }

    /// The same for a generation.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub async fn shared_on(generation: Generation) -> &'static Self {
        static SHARED: [OnceCell<RealDaemon>; 2] = [const { OnceCell::const_new() }; 2];
        let cell = &SHARED[usize::from(generation == Generation::V2)];
        match cell.get_or_try_init(|| Self::start_on(generation, Script::default())).await {
            Ok(daemon) => daemon,
            #[expect(clippy::panic, reason = "a test that needs the daemon cannot go on without it")]
            Err(error) => panic!("no shared daemon: {}", chain(&error)),
        }
    }

    /// Where it listens.
    pub fn base_url(&self) -> String {
        match (&self.daemon, &self.spec.port) {
            (Some(daemon), _) => daemon.base_url(),
            (None, Port::Fixed(port)) => format!("http://127.0.0.1:{port}"),
            (None, _) => String::new(),
        }
    }

    /// Its password.
    pub fn password(&self) -> SecretString {
        match &self.spec.password {
            Some(password) => password.clone(),
            None => self.daemon.as_ref().map(|daemon| daemon.password().clone()).unwrap_or_default(),
        }
    }

    /// The git repository it serves.
    pub fn directory(&self) -> PathBuf {
        self.spec.directory.canonicalize().unwrap_or_else(|_| self.spec.directory.clone())
    }

    /// Its model.
    pub fn model(&self) -> &ScriptedModel {
        &self.model
    }

    /// The binary it runs.
    pub fn opencode(&self) -> &Opencode {
        &self.opencode
    }

    /// Which generation of the API it speaks.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Its isolated home directory.
    pub fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// The daemon's process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().and_then(Daemon::pid)
    }

    /// Another git repository with these files, to be named with `?directory=`.
    pub fn workspace(&self, files: &[(&str, &str)]) -> Result<PathBuf, RealError> {
        let number = self.workspaces.fetch_add(1, Ordering::Relaxed);
        let directory = self.root.path().join(format!("workspace-{number}"));
        scratch::repository(&directory, files)?;
        Ok(directory.canonicalize()?)
    }

    /// Kills the daemon's process as a crash would, and waits until it is gone.
    pub async fn kill9(&mut self) {
        self.keep_address();
        if let Some(daemon) = &mut self.daemon {
            daemon.kill9().await;
        }
    }

    /// Suspends the daemon's process, which answers nothing then.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn suspend(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a suspended process go on.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    #[expect(clippy::expect_used, reason = "a test that needs the process cannot go on without it")]
    fn signal(&self, signal: Signal) {
        let pid = self.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        rustix::process::kill_process(pid.expect("it runs"), signal).expect("it can be signalled");
    }

    /// Starts it again, killing it first if it runs: same home, port and password.
    pub async fn restart(&mut self) -> Result<(), RealError> {
        self.keep_address();
        drop(self.daemon.take());
        self.daemon = Some(Daemon::start(self.spec.clone()).await?);
        Ok(())
    }

    /// Changes the configuration of the next [`restart`](Self::restart).
    pub fn configure(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.spec.config);
    }

    fn keep_address(&mut self) {
        if let Some(daemon) = &self.daemon {
            self.spec.port = Port::Fixed(daemon.port());
            self.spec.password = Some(daemon.password().clone());
        }
    }
}

/// The opencode of a generation that tests run: found, installed or fetched once per process.
pub async fn opencode_of(generation: Generation) -> Result<Opencode, RealError> {
    static NEWER: OnceCell<Opencode> = OnceCell::const_new();
    if generation == Generation::V1 {
        return Ok(opencode().await?);
    }
    let fetched = NEWER.get_or_try_init(|| async {
        let fetched = tokio::task::spawn_blocking(newer::opencode).await;
        fetched.map_err(|_| RealError::Fetch("the fetch was cut off".to_owned()))?
    });
    fetched.await.cloned()
}

/// Keeps a 2.x daemon from whatever is not loopback; see [`LOOPBACK_ALONE`].
pub fn loopback_alone(spec: &mut Spec) {
    for (name, value) in LOOPBACK_ALONE {
        spec.environment = std::mem::take(&mut spec.environment).with(name, value);
        spec.pass.push(name.to_owned());
    }
}

/// The opencode of 1.x that tests run: found or installed once per process.
pub async fn opencode() -> Result<Opencode, InstallError> {
    static FOUND: OnceCell<Opencode> = OnceCell::const_new();
    let locate = Locate::new(Environment::of_this_process());
    let found = FOUND.get_or_try_init(|| {
        opencode_daemons::install::locate(&locate, |progress| tracing::info!(?progress, "opencode"))
    });
    found.await.cloned()
}

/// An error with its causes, for a panic's message.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
