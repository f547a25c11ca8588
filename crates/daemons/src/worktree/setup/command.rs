//! A set-up's command: run within the walls that the commands of the workspace's agents have, with a network of its
//! own that is as wide as theirs, until it and all that it started have ended.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use connector_egress::Record;
use connector_files::{Log, Redactor};
use tokio::process::Command;
use tokio::time::timeout;

use crate::confine::namespaces::Control;
use crate::confine::{self, Confinement};
use crate::daemon::Spec;
use crate::egress::{self, Egress, Wanted};
use crate::process::Family;
use crate::providers::Providers;
use crate::redact;
use crate::resource_limits::{Excess, LOOK_EVERY, ResourceLimits};
use crate::worktree::running::{Running, Says};

/// How much of what it prints is kept: the end of it.
const PRINTED: usize = 512 << 10;

/// How long what it printed may take to be read, once it has ended.
const REST: Duration = Duration::from_secs(10);

/// How often it is looked whether the proxy has ended, and how often at most.
const LOOKS_EVERY: Duration = Duration::from_millis(10);
const LOOKS: u32 = 200;

/// Why a command did not do what it was to. What it printed is in its log.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It says so itself.
    #[error("it ended with {0}")]
    Ended(String),
    /// It was ended.
    #[error("it took longer than {} s", .0.as_secs())]
    Slow(Duration),
    /// It was ended for what it held.
    #[error("{0}, by it and all that it started")]
    TooMuch(String),
    /// It never began.
    #[error("it could not be started within walls")]
    NotStarted(#[from] io::Error),
}

/// Runs `run` in a directory of a tree until it has ended; how many hosts the walls refused it meanwhile. Their names,
/// which it chose, are in its log alone.
pub(super) async fn run(
    spec: &Spec,
    most: (&str, Duration, ResourceLimits),
    directory: &Path,
    log: &Log,
) -> (Result<(), CommandError>, usize) {
    let before = refusals(spec);
    let ended = ran(spec, most, directory, log).await;
    let mut refused = refusals(spec);
    refused.retain(|host, times| *times > before.get(host).copied().unwrap_or_default());
    let lines: Vec<String> = refused.keys().map(|host| format!("the walls refused it {host}")).collect();
    if !lines.is_empty() {
        append(log, &redactor_of(spec), &lines);
    }
    (ended, refused.len())
}

fn refusals(spec: &Spec) -> BTreeMap<String, u64> {
    let Some(confinement) = &spec.confinement else { return BTreeMap::new() };
    let record = Record::read(&egress::record(&confinement.tmp)).unwrap_or_default();
    record.refusals.into_iter().map(|(host, refused)| (host, refused.times)).collect()
}

async fn ran(
    spec: &Spec,
    (run, limit, resource_limits): (&str, Duration, ResourceLimits),
    directory: &Path,
    log: &Log,
) -> Result<(), CommandError> {
    if let Some(confinement) = &spec.confinement {
        confinement.check()?;
        make_own(spec)?;
        confinement.prepare()?;
    }
    let (reader, writer) = io::pipe()?;
    let mut command = command(spec, run, directory);
    command
        .stdout(Stdio::from(OwnedFd::from(writer.try_clone()?)))
        .stderr(Stdio::from(OwnedFd::from(writer)));
    let own_network = spec.confinement.as_ref().is_some_and(Confinement::has_own_network);
    let control = if own_network {
        let (control, stdin) = Control::pair()?;
        command.stdin(stdin);
        Some(control)
    } else {
        command.stdin(Stdio::null());
        None
    };
    let mut running = Running::start(command, Says::Agent)?;
    let printing = tokio::task::spawn_blocking(move || end_of(reader));
    let egress = serve_proxies(spec, running.child.id(), control).await;
    // What waits for the command; the launcher outside namespaces, and the first process within them; what holds the network.
    let ours = spec.confinement.as_ref().map_or(0, |confinement| {
        1 + if confinement.is_namespaced() { 2 } else { 0 } + usize::from(confinement.has_own_network())
    });
    let ended = {
        let Running { child, family, .. } = &mut running;
        tokio::select! {
            ended = timeout(limit, child.wait()) => Ok(ended),
            excess = excess(resource_limits, family.as_ref(), ours) => Err(excess),
        }
    };
    drop(running);
    if let Ok(Some(egress)) = egress {
        let_end(egress).await;
    }
    let printed = timeout(REST, printing).await;
    keep(log, spec, run, printed.ok().and_then(Result::ok).unwrap_or_default().as_slice());
    match ended {
        Err(excess) => Err(CommandError::TooMuch(excess.to_string())),
        Ok(Err(_)) => Err(CommandError::Slow(limit)),
        Ok(Ok(status)) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => Ok(()),
        Ok(Ok(status)) => Err(CommandError::Ended(status?.to_string())),
    }
}

/// What it holds too much of, as soon as it does.
async fn excess(resource_limits: ResourceLimits, family: Option<&Family>, ours: usize) -> Excess {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Some(excess) = family.and_then(|family| resource_limits.exceeded_by_command(family, ours)) {
            return excess;
        }
    }
}

/// The directory in which a daemon would have its sessions. What is in it is closed to commands.
fn make_own(spec: &Spec) -> io::Result<()> {
    let crate::daemon::Home::Own(own) = &spec.home else { return Ok(()) };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(own)
}

fn command(spec: &Spec, run: &str, directory: &Path) -> Command {
    let program = spec.confinement.as_ref().map_or(Path::new("/bin/sh"), |walls| walls.launcher.as_path());
    #[expect(clippy::disallowed_methods, reason = "the command of a set-up is run here, within walls")]
    let mut command = Command::new(program);
    command.current_dir(directory).env_clear();
    command.envs(spec.environment.allowed(&spec.pass).iter()).env("PWD", directory);
    if let Some(confinement) = &spec.confinement {
        let launch = if confinement.is_namespaced() { confine::namespaces::ENTER } else { confine::LAUNCH };
        command
            .arg(launch)
            .arg(confinement.shell())
            .env("TMPDIR", confinement.tmp_of_daemon())
            .envs(confinement.proxy_variables())
            .env("SHELL", confinement.shell())
            .env(confine::PLAN, confinement.plan());
    }
    command.args(["-c", run]);
    command
}

/// Starts the proxy by which it reaches the hosts that commands reach, and lets it begin.
async fn serve_proxies(
    spec: &Spec,
    pid: Option<u32>,
    control: Option<Control>,
) -> io::Result<Option<Egress>> {
    let (Some(confinement), Some(pid), Some(control)) = (&spec.confinement, pid, control) else {
        return Ok(None);
    };
    let Some(wanted) = Wanted::of(&Providers::default(), confinement)? else { return Ok(None) };
    let (launcher, environment) = (confinement.launcher.clone(), spec.environment.clone());
    let starting = tokio::task::spawn_blocking(move || {
        // Nobody is to reach it from here.
        let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let within = control.exchange(&nobody, &wanted.ports)?;
        let egress = egress::start(wanted, within, (&launcher, pid), &environment, Stdio::null())?;
        control.go()?;
        Ok(Some(egress))
    });
    starting.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// The proxy ends with the command, once it has written down what it refused.
async fn let_end(mut egress: Egress) {
    for _ in 0..LOOKS {
        if !egress.runs() {
            break;
        }
        tokio::time::sleep(LOOKS_EVERY).await;
    }
    egress.end();
}

/// The end of what is printed. Returns when nobody can print any more.
fn end_of(mut reader: io::PipeReader) -> Vec<u8> {
    let (mut kept, mut chunk) = (Vec::new(), vec![0; 16 << 10]);
    while let Ok(count @ 1..) = reader.read(&mut chunk) {
        kept.extend_from_slice(&chunk[..count]);
        if kept.len() > 2 * PRINTED {
            kept.drain(..kept.len() - PRINTED);
        }
    }
    kept
}

/// Keeps what it printed for the owner, without the values that it was passed.
fn keep(log: &Log, spec: &Spec, run: &str, printed: &[u8]) {
    let text = String::from_utf8_lossy(printed);
    let mut lines = vec![format!("$ {run}")];
    lines.extend(text.lines().map(str::to_owned));
    append(log, &redactor_of(spec), &lines);
}

fn redactor_of(spec: &Spec) -> Redactor {
    let mut redactor = Redactor::default();
    let passed = spec.pass.iter().filter_map(|name| spec.environment.get(name)?.to_str());
    passed.for_each(|value| redactor.add(value));
    redactor
}

fn append(log: &Log, redactor: &Redactor, lines: &[String]) {
    let lines: Vec<String> = lines.iter().map(|line| redact::line(redactor, line)).collect();
    if let Err(error) = log.append(&lines) {
        tracing::warn!(%error, log = %log.path().display(), "what a set-up printed cannot be kept");
    }
}
