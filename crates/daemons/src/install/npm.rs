//! `npm install` into the cache directory, once for all processes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use connector_files::Redactor;
use tokio::time::Instant;

use super::{InstallError, Locate, Opencode, Progress, Source, checked, on_path, place, searched};
use crate::diagnosis::Diagnosis;
use crate::environment::Environment;
use crate::output_log::OutputLog;
use crate::process::{Exit, Family, Leader, MARK, ProcessId};
use crate::random;
use crate::version;

const PACKAGE: &str = "opencode-ai";
/// Where npm puts it.
const BIN: &str = "node_modules/.bin/opencode";
/// A link of ours to what npm's leads to: some releases link their binary by an absolute path,
/// which the move into the final place breaks.
const BINARY: &str = "opencode";
const LOCK_POLL: Duration = Duration::from_millis(100);
const VERSION_LIMIT: Duration = Duration::from_secs(30);
const INSTALL_LIMIT: Duration = Duration::from_mins(15);

/// What npm may need to reach a registry, beyond the usual allow-list.
const PASS: [&str; 9] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

pub(super) async fn cached_or_install(
    cache: &Path,
    from: &Locate,
    progress: impl Fn(Progress),
) -> Result<Opencode, InstallError> {
    let Locate { release, environment, .. } = from;
    if let Some(found) = installed(cache, release, Source::Cache) {
        return Ok(found);
    }
    let npm = on_path("npm", environment)
        .ok_or_else(|| InstallError::NoNpm { path: searched(environment), cache: cache.to_owned() })?;
    let failed = |source| InstallError::Cache { path: cache.to_owned(), source };
    std::fs::create_dir_all(cache).map_err(failed)?;
    let _lock = lock(cache, &progress).await.map_err(failed)?;
    if let Some(found) = installed(cache, release, Source::Cache) {
        return Ok(found);
    }
    clear_leftovers(cache, release);
    let begun = Instant::now();
    progress(Progress::Installing { version: release.clone(), into: place(cache, release) });
    install(&npm, cache, from).await?;
    progress(Progress::Installed { took: begun.elapsed() });
    installed(cache, release, Source::Installed)
        .ok_or_else(|| InstallError::Npm { release: release.clone(), diagnosis: Diagnosis::default() })
}

/// Asks a binary for its version.
pub(super) async fn printed_version(path: &Path, from: &Locate) -> Result<String, InstallError> {
    let unusable = |diagnosis: Diagnosis| InstallError::Unusable {
        path: path.to_owned(),
        diagnosis: diagnosis.keep(from.printed.as_ref()),
    };
    #[expect(clippy::disallowed_methods, reason = "opencode is asked for its version before it is started")]
    let mut command = Command::new(path);
    command.arg("--version").env_clear().envs(from.environment.allowed(&[]).iter());
    let (exit, lines) = run(command, VERSION_LIMIT).await.map_err(|error| {
        let reason = Diagnosis::of(vec![error.to_string()]);
        unusable(if reason.cause().is_some() {
            reason
        } else {
            Diagnosis::known("it cannot be started", vec![error.to_string()])
        })
    })?;
    // What a program says besides stands before it.
    let line = lines.iter().rfind(|line| version::first_in(line).is_some()).or(lines.last());
    match (exit, line) {
        (Some(Exit::Status(status)), Some(line)) if status.success() => Ok(line.clone()),
        (None, _) => Err(unusable(Diagnosis::known("it did not answer within half a minute", lines))),
        _ => Err(unusable(Diagnosis::of(lines))),
    }
}

/// A finished install was checked before it was renamed into place.
pub(super) fn installed(cache: &Path, release: &str, source: Source) -> Option<Opencode> {
    let path = place(cache, release).join(BINARY);
    path.is_file().then(|| Opencode { path, version: release.to_owned(), source })
}

/// One process installs at a time. The lock is let go of when the file is dropped or its holder dies.
async fn lock(cache: &Path, progress: &impl Fn(Progress)) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(cache.join("install.lock"))?;
    let mut said = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if !said => {
                progress(Progress::Waiting);
                said = true;
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_POLL).await,
        }
    }
}

/// Removes what killed installs left, and an install of `release` that has lost its binary; only
/// called under the lock.
fn clear_leftovers(cache: &Path, release: &str) {
    let Ok(entries) = std::fs::read_dir(cache) else { return };
    let broken = place(cache, release);
    let is_leftover = |entry: &std::fs::DirEntry| {
        entry.path() == broken || entry.file_name().as_encoded_bytes().starts_with(b".installing-")
    };
    for entry in entries.flatten().filter(is_leftover) {
        if let Err(error) = std::fs::remove_dir_all(entry.path()) {
            tracing::debug!(path = %entry.path().display(), %error, "a leftover of an install stays");
        }
    }
}

async fn install(npm: &Path, cache: &Path, from: &Locate) -> Result<(), InstallError> {
    let Locate { release, environment, .. } = from;
    let npm_failed = |diagnosis: Diagnosis| InstallError::Npm {
        release: release.clone(),
        diagnosis: diagnosis.keep(from.printed.as_ref()),
    };
    let failed = |source| InstallError::Cache { path: cache.to_owned(), source };
    let beside = tempfile::Builder::new().prefix(".installing-").tempdir_in(cache).map_err(failed)?;
    std::fs::write(beside.path().join("package.json"), "{\"private\":true}\n").map_err(failed)?;
    #[expect(clippy::disallowed_methods, reason = "npm installs opencode, once, into the cache directory")]
    let mut command = Command::new(npm);
    command
        .args(["install", "--no-audit", "--no-fund", "--no-progress", "--loglevel=error"])
        .arg(format!("{PACKAGE}@{release}"))
        .current_dir(beside.path())
        .env_clear()
        .envs(npm_environment(environment).iter());
    let (exit, lines) = run(command, INSTALL_LIMIT).await.map_err(failed)?;
    match exit {
        Some(Exit::Status(status)) if status.success() => {}
        Some(_) => return Err(npm_failed(Diagnosis::of(lines))),
        None => {
            return Err(npm_failed(Diagnosis::known("it did not end within a quarter of an hour", lines)));
        }
    }
    checked(beside.path().join(BIN), Source::Installed, from).await?;
    link(beside.path()).map_err(failed)?;
    std::fs::rename(beside.path(), place(cache, release)).map_err(failed)
}

/// Makes [`BINARY`] in `root`, by a path that moves with it.
fn link(root: &Path) -> io::Result<()> {
    let binary = root.join(BIN).canonicalize()?;
    let within = binary.strip_prefix(root.canonicalize()?).unwrap_or(&binary);
    std::os::unix::fs::symlink(within, root.join(BINARY))
}

fn npm_environment(environment: &Environment) -> Environment {
    let configured = environment
        .iter()
        .filter_map(|(name, _)| name.to_str())
        .filter(|name| name.to_ascii_lowercase().starts_with("npm_config_"));
    let pass: Vec<String> = configured.chain(PASS).map(str::to_owned).collect();
    environment.allowed(&pass)
}

/// Runs a command to its end, with its last lines. No exit means that the limit came first.
/// Whatever happens, nothing that it started is left.
async fn run(mut command: Command, limit: Duration) -> io::Result<(Option<Exit>, Vec<String>)> {
    let output_log = OutputLog::unnamed(Redactor::default())?;
    let mark = random::hex::<16>()?;
    command
        .env(MARK, &mark)
        .stdin(Stdio::null())
        .stdout(output_log.stdio()?)
        .stderr(output_log.stdio()?)
        .process_group(0);
    let child = command.spawn()?;
    let family = Family { leader: ProcessId::of(child.id()), mark, group: None };
    let mut running = Running { leader: Leader::Child(child), family };
    let exit = tokio::time::timeout(limit, running.leader.exited()).await.ok();
    Ok((exit, output_log.whole()))
}

struct Running {
    leader: Leader,
    family: Family,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.family.end_now();
        self.leader.reap();
    }
}
