//! Finding opencode, or installing it.
//!
//! In this order: the path given, `opencode` on `PATH`, an earlier install in the user's cache
//! directory, and then `npm install` of the pinned release into that directory. An install is
//! made beside its final place and renamed when it works, under a file lock: a killed one leaves
//! nothing half done, and of many processes that want it one installs and the others wait.
//!
//! Never does: run a version that [`version`](crate::version) refuses, install outside the cache
//! directory, choose a registry (npm's own configuration does).

mod error;
mod npm;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use connector_files::{Base, Log};
use etcetera::BaseStrategy;

pub use error::{InstallError, Looked};

use crate::environment::Environment;
use crate::version::{self, PINNED};

/// Where to look for opencode.
#[derive(Debug, Clone)]
pub struct Locate {
    /// A path, a name to look up on `PATH`, or `env:VAR` for a variable that holds one.
    pub path: Option<String>,
    /// Whether `opencode` on `PATH` is taken when no path is given.
    pub search_path: bool,
    /// Where installs are kept; the user's cache directory when absent.
    pub cache: Option<PathBuf>,
    /// Which release is installed when none is found; [`PINNED`] unless somebody must know how
    /// another one behaves.
    pub release: String,
    /// The host's environment.
    pub environment: Environment,
    /// Where what npm and opencode print when they fail is kept, for its owner's eyes; dropped when absent.
    pub printed: Option<Log>,
}

impl Locate {
    /// The usual places.
    pub fn new(environment: Environment) -> Self {
        Self {
            path: None,
            search_path: true,
            cache: None,
            release: PINNED.to_owned(),
            environment,
            printed: None,
        }
    }
}

/// A binary that may be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opencode {
    /// The binary.
    pub path: PathBuf,
    /// Its version, already checked.
    pub version: String,
    /// Where it came from.
    pub source: Source,
}

impl Opencode {
    /// Whether it is of the second generation.
    pub fn is_of_2(&self) -> bool {
        !version::is_of_1(&self.version)
    }
}

/// Where a binary came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The path given.
    Given,
    /// `PATH`.
    Path,
    /// An earlier install in the cache directory.
    Cache,
    /// Installed just now.
    Installed,
}

/// What a person who waits should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Another process installs; waiting for it.
    Waiting,
    /// `npm install` runs.
    Installing {
        /// The package's version.
        version: String,
        /// The final place.
        into: PathBuf,
    },
    /// It is done.
    Installed {
        /// How long it took.
        took: Duration,
    },
}

/// Finds opencode where [`locate`] would, and installs nothing.
pub async fn find(from: &Locate) -> Result<Option<Opencode>, InstallError> {
    match named(from).await? {
        Some(found) => Ok(Some(found)),
        None => Ok(npm::installed(&cache(from)?, &from.release, Source::Cache)),
    }
}

/// Finds opencode, or installs it. Dropping the future ends a running install and leaves nothing.
pub async fn locate(from: &Locate, progress: impl Fn(Progress)) -> Result<Opencode, InstallError> {
    match named(from).await? {
        Some(found) => Ok(found),
        None => npm::cached_or_install(&cache(from)?, from, progress).await,
    }
}

/// The binary that somebody chose: by its path, or by having it on `PATH`.
async fn named(from: &Locate) -> Result<Option<Opencode>, InstallError> {
    let (path, source) = if let Some(given) = &from.path {
        (given_path(given, &from.environment)?, Source::Given)
    } else {
        let on_path = from.search_path.then(|| on_path("opencode", &from.environment)).flatten();
        let Some(path) = on_path else { return Ok(None) };
        (path, Source::Path)
    };
    checked(path, source, from).await.map(Some)
}

fn given_path(given: &str, environment: &Environment) -> Result<PathBuf, InstallError> {
    let named = match given.strip_prefix("env:") {
        Some(name) => match environment.get(name) {
            Some(value) if !value.is_empty() => PathBuf::from(value),
            _ => return Err(InstallError::Unset { name: name.to_owned() }),
        },
        None => PathBuf::from(given),
    };
    let missing = |looked| InstallError::Missing { given: given.to_owned(), looked };
    if named.components().count() == 1 && !given.starts_with(['.', '~']) {
        return on_path(&named, environment).ok_or_else(|| missing(Looked::Path(searched(environment))));
    }
    let home = environment.get("HOME").map(PathBuf::from);
    let base = Base::of_arguments(home).ok();
    let path = base.and_then(|base| base.resolve(&named)).map_or(named, PathBuf::from);
    if path.is_file() {
        return Ok(path);
    }
    Err(missing(if path.is_dir() { Looked::Directory(path) } else { Looked::Nothing(path) }))
}

/// The directories in which programs are looked for.
fn searched(environment: &Environment) -> String {
    environment.get("PATH").map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
}

fn on_path(name: impl AsRef<OsStr>, environment: &Environment) -> Option<PathBuf> {
    let path = std::env::join_paths(environment.search_path()).ok()?;
    which::which_in(name, Some(path), "/").ok()
}

/// The directory in which installs are kept.
pub fn cache(from: &Locate) -> Result<PathBuf, InstallError> {
    if let Some(cache) = &from.cache {
        return Ok(cache.clone());
    }
    let strategy = etcetera::choose_base_strategy().map_err(|_| InstallError::NoHome)?;
    Ok(strategy.cache_dir().join("connector-opencode"))
}

/// Asks a binary for its version, within a limit, and checks it.
async fn checked(path: PathBuf, source: Source, from: &Locate) -> Result<Opencode, InstallError> {
    let printed = npm::printed_version(&path, from).await?;
    match version::check(&printed) {
        Ok(version) => Ok(Opencode { path, version: version.to_string(), source }),
        Err(reason) => Err(InstallError::Version { path, reason }),
    }
}

/// The place of a release below a cache directory.
fn place(cache: &Path, release: &str) -> PathBuf {
    cache.join(format!("opencode-{release}"))
}
