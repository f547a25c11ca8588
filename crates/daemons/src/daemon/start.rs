//! From a [`Spec`] to a daemon that answers, or to an error and nothing left running.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use connector_files::Redactor;
use opencode_api::PASSWORD_VARIABLES;
use rustix::fs::Access;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::contain::{self, Place};
use super::{Daemon, Home, OWN, Port, Spec, StartError};
use crate::confine::namespaces::Control;
use crate::confine::{self, Confinement};
use crate::diagnosis::Diagnosis;
use crate::egress::{self, Wanted};
use crate::health::{self, HealthError};
use crate::keys::{self, Keys};
use crate::output_log::OutputLog;
use crate::own_package;
use crate::place::Held;
use crate::process::{Exit, Family, Leader, MARK, ProcessId};
use crate::providers::Providers;
use crate::random;
use crate::record::{Record, RecordFile};
use crate::user_config;
use crate::version;

const POLL: Duration = Duration::from_millis(25);
/// Where the system looks for programs when no variable says it.
const SEARCHED: &str = "/bin:/usr/bin";
/// How often another free port is tried when one is taken in between.
const ATTEMPTS: usize = 5;

/// Starts a daemon; with a record, writes it before and after the process exists.
pub(super) async fn start(spec: &Spec, mut record: Option<RecordFile>) -> Result<Daemon, StartError> {
    let directory = usable_directory(&spec.directory)?;
    if let Some(confinement) = &spec.confinement
        && confinement.launcher.exists()
    {
        confinement.check().map_err(StartError::system("put up walls around the daemon"))?;
    }
    let password = match &spec.password {
        Some(password) => password.clone(),
        None => SecretString::from(random::hex::<24>().map_err(StartError::system("make a password"))?),
    };
    let mut candidates = candidates(&spec.port);
    loop {
        let (port, listener) = free_port(&mut candidates)?;
        let proxies = Proxies::of(spec).map_err(StartError::system("find the daemon a way out"))?;
        let own_network = spec.confinement.as_ref().is_some_and(Confinement::has_own_network);
        let listener = Some(listener).filter(|_| own_network);
        let (mut daemon, control) = spawn(spec, &directory, port, &password, (record.take(), &proxies))?;
        serve_proxies(&mut daemon, spec, proxies, control.zip(listener)).await?;
        match until_ready(&mut daemon, spec).await {
            Ok(version) => {
                if let Some((_, record)) = &mut daemon.record {
                    record.version = Some(version.clone());
                }
                write(daemon.record.as_ref())?;
                if spec.confinement.is_some()
                    && let Some(unshown) = version::unshown_walls(&version)
                {
                    tracing::warn!(directory = %directory.display(), version, "{unshown}");
                }
                daemon.version = version;
                contain::prove(&mut daemon, spec);
                return Ok(daemon);
            }
            Err(StartError::PortTaken { .. }) if !candidates.is_empty() => {
                record = daemon.record.take().map(|(file, _)| file);
            }
            Err(error) => return Err(error),
        }
    }
}

/// The model providers of a daemon, and the proxies that it is to have.
struct Proxies {
    providers: Providers,
    wanted: Option<Wanted>,
}

impl Proxies {
    fn of(spec: &Spec) -> std::io::Result<Self> {
        let providers = Providers::of(spec);
        let wanted = spec.confinement.as_ref().map(|confinement| Wanted::of(&providers, confinement));
        Ok(Self { providers, wanted: wanted.transpose()?.flatten() })
    }
}

/// Starts the proxies of a daemon that has been started. One in namespaces with a network of its own has been waiting for that, and for the
/// listener of its port.
async fn serve_proxies(
    daemon: &mut Daemon,
    spec: &Spec,
    proxies: Proxies,
    control: Option<(Control, TcpListener)>,
) -> Result<(), StartError> {
    let (Some(confinement), Some(wanted), Some(pid)) = (&spec.confinement, proxies.wanted, daemon.pid())
    else {
        return Ok(());
    };
    let output = output_log(spec, &daemon.password)?.stdio();
    let (launcher, environment) = (confinement.launcher.clone(), spec.environment.clone());
    // It is waited for where that holds nobody up.
    let starting = tokio::task::spawn_blocking(move || {
        let mut within = Vec::new();
        if let Some((control, listener)) = &control {
            // One that says nothing is ending, and its output says why.
            let Ok(listeners) = control.exchange(listener, &wanted.ports) else { return Ok(None) };
            within = listeners;
        }
        let egress = egress::start(wanted, within, (&launcher, pid), &environment, output?)?;
        let _ = control.map(|(control, _)| control.go());
        Ok(Some(egress))
    });
    let started = starting.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    daemon.egress = started.map_err(StartError::system("start the proxies of the daemon"))?;
    if let (Some((_, record)), Some(egress)) = (&mut daemon.record, &daemon.egress) {
        record.egress = Some(egress.id().clone());
    }
    write(daemon.record.as_ref())
}

/// Where a daemon's output goes, and what must not be shown of it.
pub(super) fn output_log(spec: &Spec, password: &SecretString) -> Result<OutputLog, StartError> {
    let mut redactor = Redactor::default();
    redactor.add_password(opencode_api::USER, password.expose_secret());
    for secret in &secrets(spec) {
        redactor.add(secret.expose_secret());
    }
    match &spec.output {
        Some(path) => OutputLog::at(path, redactor),
        None => OutputLog::unnamed(redactor),
    }
    .map_err(StartError::system("open the daemon's output file"))
}

/// The secrets of a daemon that are known before it starts: the values of the variables that are passed, and the keys
/// and logins of its models.
pub(crate) fn secrets(spec: &Spec) -> Vec<SecretString> {
    let passed = spec.pass.iter().filter_map(|name| spec.environment.get(name)?.to_str());
    let (keys, providers) = (Keys::of(spec).secrets(), Providers::of(spec));
    let keys = keys.iter().map(String::as_str);
    passed.chain(keys).chain(providers.secrets()).map(SecretString::from).collect()
}

pub(super) fn usable_directory(path: &Path) -> Result<PathBuf, StartError> {
    let refuse = |source| StartError::Directory { path: path.to_owned(), source };
    let directory = path.canonicalize().map_err(refuse)?;
    std::fs::read_dir(&directory).map_err(refuse)?;
    // One in which nothing can be written would let an agent fail at everything, and say that it is done.
    let uses = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::access(&directory, uses).map_err(|error| refuse(error.into()))?;
    Ok(directory)
}

/// The ports to try, in order; 0 is any free one.
fn candidates(port: &Port) -> VecDeque<u16> {
    match port {
        Port::Free => VecDeque::from([0; ATTEMPTS]),
        Port::Fixed(port) => VecDeque::from([*port]),
        Port::FirstFree(ports) => ports.iter().copied().collect(),
    }
}

/// Takes candidates until one is free.
fn free_port(candidates: &mut VecDeque<u16>) -> Result<(u16, TcpListener), StartError> {
    loop {
        let Some(candidate) = candidates.pop_front() else { return Err(StartError::PortTaken { port: 0 }) };
        match bind(candidate) {
            Ok(bound) => return Ok(bound),
            Err(_) if !candidates.is_empty() => {}
            Err(_) => return Err(StartError::PortTaken { port: candidate }),
        }
    }
}

/// Bound. A daemon with a network of its own is handed the listener. Another cannot be handed one, so it is let
/// go, and another process may take the port in between. That shows as `PortTaken`, and the next candidate is tried.
fn bind(port: u16) -> std::io::Result<(u16, TcpListener)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    Ok((listener.local_addr()?.port(), listener))
}

/// Starts the process. From here on a `Daemon` holds it, whose drop ends it.
fn spawn(
    spec: &Spec,
    directory: &Path,
    port: u16,
    password: &SecretString,
    (file, proxies): (Option<RecordFile>, &Proxies),
) -> Result<(Daemon, Option<Control>), StartError> {
    let mark = random::hex::<16>().map_err(StartError::system("make a mark"))?;
    let output_log = output_log(spec, password)?;
    let mut place = Place::of(spec, &mark);
    let mut record = file.map(|file| {
        let password = password.expose_secret().to_owned();
        let mut record = Record::new(mark.clone(), port, password, directory.to_owned(), spec.digest());
        record.set_group(place.group().cloned());
        (file, record)
    });
    write(record.as_ref())?;
    let start = |place: &mut Place| {
        let mut command = command(spec, (directory, port, password), (&mark, place), &output_log, proxies)?;
        let control = control(spec, &mut command)?;
        place.make(spec);
        match command.spawn() {
            Ok(child) => Ok((child, control)),
            Err(source) => Err(StartError::Program { path: command.get_program().into(), source }),
        }
    };
    let started = match start(&mut place) {
        Err(StartError::Program { path, source }) if place.group().is_some() => {
            place.give_up(format!("its launcher {} cannot be started: {source}", path.display()));
            start(&mut place)
        }
        other => other,
    };
    let (child, control) = started?;
    let (group, limits) = place.into_parts();
    let process = ProcessId::of(child.id());
    if let Some((_, record)) = &mut record {
        record.process.clone_from(&process);
    }
    let daemon = Daemon {
        leader: Leader::Child(child),
        family: Family { leader: process, mark, group },
        port,
        password: password.clone(),
        directory: directory.to_owned(),
        version: String::new(),
        output_log,
        grace: spec.stop_grace,
        record,
        ends_on_drop: true,
        limits,
        asked: BTreeMap::new(),
        egress: None,
        logins: Keys::of(spec).into_copy(),
    };
    write(daemon.record.as_ref())?;
    Ok((daemon, control))
}

/// How one with a network of its own is spoken to before it starts.
fn control(spec: &Spec, command: &mut Command) -> Result<Option<Control>, StartError> {
    if !spec.confinement.as_ref().is_some_and(Confinement::has_own_network) {
        return Ok(None);
    }
    let (control, stdin) = Control::pair().map_err(StartError::system("speak to the daemon's launcher"))?;
    command.stdin(stdin);
    Ok(Some(control))
}

fn command(
    spec: &Spec,
    (directory, port, password): (&Path, u16, &SecretString),
    (mark, place): (&str, &mut Place),
    output_log: &OutputLog,
    proxies: &Proxies,
) -> Result<Command, StartError> {
    let stdio = || output_log.stdio().map_err(StartError::system("share the daemon's output file"));
    let models = proxies.wanted.as_ref().and_then(|wanted| wanted.models.as_ref());
    let models = models.map_or(("", ""), |(address, token)| (address.as_str(), token.expose()));
    let environment = spec.child_environment(&proxies.providers, models);
    let started = spec.confinement.as_ref().map_or(&spec.program, |confinement| &confinement.launcher);
    let path = environment.get("PATH").unwrap_or(OsStr::new(SEARCHED));
    let mut command = place.command(spec, started, (directory, path));
    if let Some(confinement) = &spec.confinement {
        let launch = if confinement.is_namespaced() { confine::namespaces::ENTER } else { confine::LAUNCH };
        command.arg(launch).arg(&spec.program);
    }
    command
        .args(["serve", "--hostname", "127.0.0.1", "--port", &port.to_string()])
        .current_dir(directory)
        .env_clear()
        .envs(environment.iter())
        .env("PWD", directory)
        // Which of them a program reads is known only when it has answered; its agent's commands get none.
        .envs(PASSWORD_VARIABLES.map(|name| (name, password.expose_secret())))
        .env(MARK, mark)
        .stdin(Stdio::null())
        .stdout(stdio()?)
        .stderr(stdio()?)
        .process_group(0);
    if let Home::Own(own) = &spec.home {
        let keys = Keys::of(spec);
        prepare(own, &keys).map_err(StartError::system("make the daemon's own directory"))?;
        if spec.confinement.is_some() {
            user_config::prepare(spec, own)
                .map_err(StartError::system("copy opencode's configuration without its keys"))?;
        }
        if let Keys::Passed(keys) = &keys {
            command.env(keys::VARIABLE, keys.expose_secret());
        }
    }
    if let Home::Isolated(home) = &spec.home {
        prepare_isolated(home).map_err(StartError::system("make the daemon's own configuration"))?;
    }
    spec.project.prepare().map_err(StartError::system("copy the project's configuration"))?;
    if let Some(confinement) = &spec.confinement {
        confinement.prepare().map_err(StartError::system("prepare the daemon's walls"))?;
        command
            .env("TMPDIR", confinement.tmp_of_daemon())
            .envs(confinement.proxy_variables())
            .env("SHELL", confinement.shell())
            .env(confine::PLAN, confinement.plan());
    }
    Ok(command)
}

/// The daemon writes below its home, so no link is followed there.
fn prepare_isolated(home: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(home)?;
    own_package::forgo(&Held::over(home)?.make_over(Path::new(".config/opencode"))?)
}

/// What opencode runs of what it downloaded or installed: its whole cache, and programs beside its sessions.
const RUN_BY_OPENCODE: [&str; 2] = ["cache/opencode", "data/opencode/bin"];

/// Makes the daemon's own directory. The daemon writes there, so no link is followed below it, and what is
/// closed or in the way of it is opened or put aside. What opencode would run of it is not kept: opencode's own
/// tools write wherever a link in a repository leads them, and that is within the daemon's walls.
fn prepare(own: &Path, keys: &Keys) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(own)?;
    let own = Held::over(own)?;
    for run in RUN_BY_OPENCODE.map(Path::new) {
        own.clear(run)?;
    }
    for (_, below) in OWN {
        own.make_over(&Path::new(below).join("opencode"))?;
    }
    keys.prepare(&own)
}

fn write(record: Option<&(RecordFile, Record)>) -> Result<(), StartError> {
    let Some((file, record)) = record else { return Ok(()) };
    file.write(record).map_err(|source| StartError::Record { path: file.path().to_owned(), source })
}

/// Waits until the daemon answers, ends, or runs out of time.
async fn until_ready(daemon: &mut Daemon, spec: &Spec) -> Result<String, StartError> {
    let limit = spec.startup_limit;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(Exit::Status(status)) = daemon.try_exit() {
            return Err(ended(daemon, status));
        }
        daemon.output_log.trim();
        if listens(daemon) {
            match health::version(daemon.port, &daemon.password, None).await {
                Ok(version) => return Ok(version::check_within(&version, spec.requires_walls())?.to_string()),
                Err(HealthError::Silent) => {}
                Err(error) => return Err(StartError::Foreign(error)),
            }
        } else if daemon.family.is_without(daemon.port) {
            // 1.x ends by itself when its port is taken; 2.x may listen on another.
            return Err(StartError::PortTaken { port: daemon.port });
        }
        if Instant::now() >= deadline {
            return Err(StartError::TimedOut { limit, diagnosis: Diagnosis::of(daemon.output_log.whole()) });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether the port is our process's: the kernel says so, or where it cannot be asked, the
/// process itself.
fn listens(daemon: &Daemon) -> bool {
    daemon.family.listens_on(daemon.port)
        && (cfg!(target_os = "linux")
            || daemon.output_tail().iter().any(|line| line.contains("listening on")))
}

fn ended(daemon: &mut Daemon, status: ExitStatus) -> StartError {
    let tail = daemon.output_log.whole();
    daemon.output_log.trim();
    // opencode 1.x says `ServeError` and no more; whether it was the port, the port tells.
    let serve_error = tail.iter().any(|line| line.contains("ServeError") || line.contains("EADDRINUSE"));
    if serve_error && bind(daemon.port).is_err() {
        return StartError::PortTaken { port: daemon.port };
    }
    StartError::Ended { status, diagnosis: Diagnosis::of(tail) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_that_opencode_would_run_is_kept_of_its_own_directory_and_its_sessions_are() {
        let root = tempfile::tempdir().unwrap();
        let (own, outside) = (root.path().join("own"), root.path().join("outside"));
        let run = ["cache/opencode/node_modules/p/index.js", "cache/opencode/bin/rg", "data/opencode/bin/rg"];
        let kept = ["data/opencode/opencode.db", "state/opencode/kv.json"];
        for file in run.iter().chain(&kept) {
            std::fs::create_dir_all(own.join(file).parent().unwrap()).unwrap();
            std::fs::write(own.join(file), "x").unwrap();
        }
        prepare(&own, &Keys::None).unwrap();
        assert!(run.iter().all(|file| !own.join(file).exists()));
        assert!(kept.iter().all(|file| own.join(file).is_file()));
        // Nor what a link that was left there leads to.
        std::fs::create_dir_all(outside.join("opencode/bin")).unwrap();
        std::fs::remove_dir_all(own.join("cache")).unwrap();
        symlink(&outside, own.join("cache")).unwrap();
        symlink(outside.join("opencode/bin"), own.join("data/opencode/bin")).unwrap();
        prepare(&own, &Keys::None).unwrap();
        assert!(own.join("cache/opencode").is_dir() && !own.join("cache").is_symlink());
        assert!(!own.join("data/opencode/bin").exists() && outside.join("opencode/bin").is_dir());
    }
}
