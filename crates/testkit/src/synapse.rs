//! A real homeserver of Matrix: Synapse, in a directory of its own.
//!
//! [`Synapse::start`] gives a test a server of its own; [`Synapse::shared`] gives all tests of one
//! binary the same one. It listens on 127.0.0.1, federates with nobody, reports nothing and trusts no
//! server for keys, so that nothing goes out. Its limits are wide unless [`Options`] say otherwise.
//! Nothing is left running when the value is dropped, when a test panics, or when the process is killed.
//!
//! Synapse and all that it needs is installed by pip, in the versions and with the digests of
//! `requirements.txt`, which `uv pip compile --universal --generate-hashes` makes.

mod config;
mod install;
mod proxy;
mod user;

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use connector_contract::{Grant, GrantError, Origin, OutboundError, OutboundHttp, Reach};
use data_encoding::HEXLOWER;
use opencode_daemons::{Environment, InstallError};
use rustix::process::{Pid, Signal};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::time::Instant;

pub use config::Options;
use install::Python;
pub use install::RELEASE;
pub use proxy::{Called, Fault, Proxy};
pub use user::{Refusal, User};

use crate::watchdog::Watchdog;

/// How long a start may take on a loaded machine.
const LIMIT: Duration = Duration::from_mins(2);

/// How long until a server that starts is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// How often another port is taken when the one that was free no longer is.
const TRIES: usize = 3;

/// The name of the server, which is in the ids of its users.
pub const SERVER_NAME: &str = "synapse.test";

/// Why there is no homeserver to test with.
#[derive(Debug, thiserror::Error)]
pub enum SynapseError {
    /// There is no cache directory.
    #[error("no Synapse to test with")]
    Cache(#[from] InstallError),
    /// Python or pip is missing, or pip fails.
    #[error("no Synapse to test with: {0}")]
    Install(String),
    /// It does not start.
    #[error("Synapse does not start: {0}")]
    Start(String),
    /// Its files or its process.
    #[error("the surroundings of Synapse cannot be made")]
    Io(#[from] io::Error),
    /// It cannot be reached.
    #[error("Synapse cannot be reached")]
    Outbound(#[from] OutboundError),
    /// It listens elsewhere than on this machine.
    #[error("Synapse is not on this machine")]
    Grant(#[from] GrantError),
    /// It refuses what a test needs of it.
    #[error("Synapse refuses: {0}")]
    Refused(#[from] Refusal),
}

/// A real homeserver. Dropping it ends it.
#[derive(Debug)]
pub struct Synapse {
    // Dropped in this order: the process, then what is left on disk.
    process: Option<Process>,
    python: Python,
    options: Options,
    port: u16,
    _watchdog: Watchdog,
    root: TempDir,
}

/// Killed with its group when it is dropped.
#[derive(Debug)]
struct Process(Child);

impl Process {
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended.
            let _ = rustix::process::kill_process_group(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.0.wait();
    }
}

impl Synapse {
    /// Starts a server with wide limits.
    pub async fn start() -> Result<Self, SynapseError> {
        Self::with(Options::default()).await
    }

    /// Starts a server with these options.
    pub async fn with(options: Options) -> Result<Self, SynapseError> {
        let python = tokio::task::spawn_blocking(install::synapse).await.map_err(io::Error::other)??;
        let root = directory()?;
        let watchdog = Watchdog::over(root.path())?;
        std::fs::create_dir(root.path().join("home"))?;
        let mut synapse = Self { process: None, python, options, port: 0, _watchdog: watchdog, root };
        for tries in 1.. {
            synapse.port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            match synapse.restart().await {
                Err(SynapseError::Start(why)) if why.contains("CannotListen") && tries < TRIES => {}
                started => return started.map(|()| synapse),
            }
        }
        Err(SynapseError::Start("no port stays free".to_owned()))
    }

    /// The server that all tests of this process share; started by the first, ended with the process.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Synapse> = OnceCell::const_new();
        match SHARED.get_or_try_init(Self::start).await {
            Ok(synapse) => synapse,
            #[expect(clippy::panic, reason = "a test that needs the server cannot go on without it")]
            Err(error) => panic!("no shared Synapse: {}", connector_contract::chain(&error)),
        }
    }

    /// Where it listens; the same after a restart.
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.0.id())
    }

    /// Makes a new user with this name, who is logged in.
    pub async fn register(&self, name: &str) -> Result<User, SynapseError> {
        Ok(User::register(self.http()?, self.base_url(), name).await?)
    }

    /// Lets a user send as many messages as they like.
    pub async fn lift_limit(&self, user: &User) -> Result<(), SynapseError> {
        let name = format!("admin-{}", HEXLOWER.encode(&Sha256::digest(&user.id)[..8]));
        let admin = User::register_admin(self.http()?, self.base_url(), &name).await?;
        Ok(admin.lift_limit(&user.id).await?)
    }

    /// Kills it with all that it started as a crash would, and waits until it is gone.
    pub fn kill9(&mut self) {
        drop(self.process.take());
    }

    /// Suspends it: it answers nothing, and connections to it stand.
    pub fn suspend(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`suspend`](Self::suspend).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    /// Starts it again on the same port, with what it knew.
    pub async fn restart(&mut self) -> Result<(), SynapseError> {
        self.kill9();
        let file = self.root.path().join("homeserver.yaml");
        let config = config::config(self.root.path(), self.port, self.options);
        std::fs::write(&file, config.to_string())?;
        let log = std::fs::File::create(self.log())?;
        #[expect(clippy::disallowed_methods, reason = "tests run against a real homeserver")]
        let mut command = Command::new(&self.python.program);
        let environment = Environment::of_this_process();
        command
            .args(["-m", "synapse.app.homeserver", "-c"])
            .arg(file)
            .current_dir(self.root.path())
            .env_clear()
            .envs(environment.get("PATH").map(|path| ("PATH", path)))
            .env("HOME", self.root.path().join("home"))
            .env("PYTHONPATH", &self.python.packages)
            .env("PYTHONNOUSERSITE", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        self.process = Some(Process(command.spawn()?));
        self.ready().await
    }

    /// Waits until it answers.
    async fn ready(&mut self) -> Result<(), SynapseError> {
        let http = self.http()?;
        let deadline = Instant::now() + LIMIT;
        while !healthy(&http, &self.base_url()).await {
            let ended = self.process.as_mut().map(|process| process.0.try_wait()).transpose()?.flatten();
            if ended.is_some() || Instant::now() > deadline {
                let said = std::fs::read_to_string(self.log()).unwrap_or_default();
                let mut last: Vec<&str> = said.lines().rev().take(20).collect();
                last.reverse();
                return Err(SynapseError::Start(last.join("\n")));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.root.path().join("synapse.log")
    }

    fn http(&self) -> Result<OutboundHttp, SynapseError> {
        let Ok(origin) = self.base_url().parse::<Origin>() else {
            return Err(SynapseError::Start(format!("{} is no origin", self.base_url())));
        };
        Ok(OutboundHttp::new([Grant::new(origin, Reach::Loopback)?])?)
    }
}

/// Where a server keeps its files: in memory where that can be had, for each event it takes is a commit, and a disk that
/// others write to makes it wait.
fn directory() -> io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("synapse-");
    builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir())
}

async fn healthy(http: &OutboundHttp, base: &str) -> bool {
    let Ok(request) = http::Request::get(format!("{base}/health")).body(bytes::Bytes::new()) else {
        return false;
    };
    // One that is suspended or starts may take the connection and say nothing.
    let answer = tokio::time::timeout(Duration::from_secs(2), http.send(request)).await;
    matches!(answer, Ok(Ok(response)) if response.status().is_success())
}
