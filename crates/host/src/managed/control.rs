//! The socket by which commands of the same user ask a running host about its daemons.
//!
//! One line of JSON in, one line out, then the connection ends. The socket is in the host's own
//! state directory, which nobody else can enter. An agent of the same user makes no sockets that have
//! a path, but where `unix_sockets` lets it, or the system has no seccomp, it can connect, since
//! Landlock's walls do not hold those: each request carries a key from a file beside the socket, which
//! the walls do hold. With `confine = "off"` nothing holds it. Passwords never pass through it.

use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use connector_contract::chain;
use opencode_daemons::Pool;
use opencode_daemons::pool::{Phase, Status};
use opencode_daemons::registry::{Entry, on_record};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const SOCKET: &str = "control.sock";
const KEY: &str = "control.key";

/// The longest request that is read.
const LONGEST: u64 = 64 * 1024;

/// How long a host may take to say how its daemons stand.
const ANSWERS: Duration = Duration::from_secs(5);

/// How long one may take to carry an order out, which may wait for a place and for a start.
const CARRIES_OUT: Duration = Duration::from_mins(20);

/// How long a caller may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);

/// What can be asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How every daemon stands.
    List,
    /// Starts the daemon of a workspace and waits until it answers.
    Start {
        /// The workspace.
        workspace: String,
    },
    /// Ends the daemon of a workspace.
    Stop {
        /// The workspace.
        workspace: String,
        /// Even if it works.
        force: bool,
    },
}

/// A request, and the proof that whoever asks can read the host's files.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    key: String,
    request: Request,
}

/// What is answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// How every daemon stands now.
    Daemons(Vec<Standing>),
    /// Why what was asked was not done, in words for people.
    Refused(String),
}

/// How the daemon of one workspace stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The workspace's name.
    pub workspace: String,
    /// The directory it serves.
    pub directory: PathBuf,
    /// `cold`, `starting`, `ready`, `stopping` or `resting`; `alone` for one that runs without a host.
    pub phase: String,
    /// How many calls use it.
    pub leases: usize,
    /// Its port.
    pub port: Option<u16>,
    /// Its process.
    pub pid: Option<u32>,
    /// Its version.
    pub version: Option<String>,
}

/// Listens until dropped; requests that are being answered are not waited for.
#[derive(Debug)]
pub struct Serving {
    stopping: CancellationToken,
    path: PathBuf,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stopping.cancel();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Answers requests about `pool`, whose state directory is `state`. Whatever hinders it costs the
/// `daemons` command and nothing else.
pub fn serve(state: &Path, pool: &Pool) -> Serving {
    let serving = Serving { stopping: CancellationToken::new(), path: state.join(SOCKET) };
    match listen(state, &serving.path) {
        Ok((listener, key)) => {
            let work = accept(listener, key.into(), state.to_owned(), pool.clone());
            let stopping = serving.stopping.clone();
            tokio::spawn(async move { stopping.run_until_cancelled(work).await });
        }
        Err(error) => tracing::warn!(%error, "`daemons` commands cannot reach this host"),
    }
    serving
}

/// Asks the host that runs with `state`; nothing when none listens. One that is held, such as by
/// `SIGSTOP`, does not answer, which is an error (`TimedOut`) after a while.
pub async fn ask(state: &Path, request: &Request) -> io::Result<Option<Answer>> {
    let within = |limit| move |_| silent(limit);
    let listed = timeout(ANSWERS, ask_once(state, &Request::List)).await.map_err(within(ANSWERS))??;
    if listed.is_none() || matches!(request, Request::List) {
        return Ok(listed);
    }
    timeout(CARRIES_OUT, ask_once(state, request)).await.map_err(within(CARRIES_OUT))?
}

fn silent(limit: Duration) -> io::Error {
    let words =
        format!("the host that runs with this --state does not answer within {limit:?}; is it stopped?");
    io::Error::new(io::ErrorKind::TimedOut, words)
}

async fn ask_once(state: &Path, request: &Request) -> io::Result<Option<Answer>> {
    let stream = match UnixStream::connect(state.join(SOCKET)).await {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        stream => stream?,
    };
    let mut stream = BufReader::new(stream);
    let key = std::fs::read_to_string(state.join(KEY))?;
    let mut line = serde_json::to_vec(&Sealed { key, request: request.clone() })?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await?;
    if answer.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the host ended meanwhile"));
    }
    Ok(Some(serde_json::from_str(&answer)?))
}

/// What is known of daemons while no host runs.
pub fn without_host(state: &Path) -> io::Result<Vec<Standing>> {
    let standing = |entry: Entry| Standing {
        phase: if entry.pid.is_some() { "alone" } else { "cold" }.to_owned(),
        leases: 0,
        port: entry.pid.map(|_| entry.port),
        pid: entry.pid,
        version: entry.version,
        workspace: entry.workspace,
        directory: entry.directory,
    };
    Ok(on_record(state)?.into_iter().map(standing).collect())
}

fn listen(state: &Path, path: &Path) -> io::Result<(UnixListener, String)> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state)?;
    // Only one host has this state directory: a socket that is there already is left over.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let key = connector_engine::unique().map_err(io::Error::other)?;
    let mut file = tempfile::NamedTempFile::new_in(state)?;
    file.write_all(key.as_bytes())?;
    file.persist(state.join(KEY))?;
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok((listener, key))
}

async fn accept(listener: UnixListener, key: Arc<str>, state: PathBuf, pool: Pool) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (key, state, pool) = (Arc::clone(&key), state.clone(), pool.clone());
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &key, &state, &pool).await {
                        tracing::debug!(%error, "a `daemons` command was not answered");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a `daemons` command could not connect");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, key: &str, state: &Path, pool: &Pool) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    timeout(PATIENCE, (&mut stream).take(LONGEST).read_line(&mut line)).await??;
    let answer = match serde_json::from_str::<Sealed>(&line) {
        Ok(Sealed { key: given, .. }) if !bool::from(given.as_bytes().ct_eq(key.as_bytes())) => {
            Answer::Refused("that is not the host's key".to_owned())
        }
        Ok(Sealed { request, .. }) => carry_out(request, state, pool).await.unwrap_or_else(Answer::Refused),
        Err(error) => Answer::Refused(format!("the host does not understand: {error}")),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

async fn carry_out(request: Request, state: &Path, pool: &Pool) -> Result<Answer, String> {
    match request {
        Request::List => {}
        Request::Start { workspace } => {
            pool.lease(&workspace, |_| {}).await.map_err(|error| chain(&error))?;
        }
        Request::Stop { workspace, force } => {
            pool.stop(&workspace, force).await.map_err(|error| chain(&error))?;
        }
    }
    let listed = pool.list().await.map_err(|error| chain(&error))?;
    let records = on_record(state).map_err(|error| error.to_string())?;
    Ok(Answer::Daemons(listed.into_iter().map(|status| standing(status, &records)).collect()))
}

fn standing(status: Status, records: &[Entry]) -> Standing {
    let running = status.address.as_ref();
    let record = records.iter().find(|entry| entry.workspace == status.workspace && running.is_some());
    Standing {
        phase: match status.phase {
            Phase::Cold => "cold",
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::Stopping => "stopping",
            Phase::Resting => "resting",
        }
        .to_owned(),
        leases: status.leases,
        port: record.map(|entry| entry.port),
        pid: running.and_then(|address| address.pid),
        version: record.and_then(|entry| entry.version.clone()),
        workspace: status.workspace,
        directory: status.directory,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_host_that_is_held_is_named_after_a_while() {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(state.path().join(KEY), "key").unwrap();
        // The kernel takes connections in its place.
        let _held = std::os::unix::net::UnixListener::bind(state.path().join(SOCKET)).unwrap();
        for request in [Request::List, Request::Start { workspace: "a".to_owned() }] {
            let error = ask(state.path(), &request).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(error.to_string().contains("does not answer"), "{error}");
        }
    }
}
