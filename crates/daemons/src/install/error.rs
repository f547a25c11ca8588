//! Why there is no opencode. Nothing was installed and nothing runs.

use std::io;
use std::path::PathBuf;

use crate::daemon::Tail;
use crate::version::{PINNED, VersionError};

/// Why opencode could not be found or installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// `env:VAR` was given and the variable is unset or empty.
    #[error("variable {name}, which should hold the path of opencode, is not set")]
    Unset {
        /// The variable.
        name: String,
    },
    /// The given path leads nowhere.
    #[error("there is no opencode at {}", path.display())]
    Missing {
        /// As given.
        path: PathBuf,
    },
    /// The binary does not start, or does not print its version in time.
    #[error("{} does not print its version{tail}", path.display())]
    Unusable {
        /// The binary.
        path: PathBuf,
        /// What it printed instead.
        tail: Tail,
    },
    /// The binary is of a version that is not run.
    #[error("{} is refused", path.display())]
    Version {
        /// The binary.
        path: PathBuf,
        /// Why.
        #[source]
        reason: VersionError,
    },
    /// There is nothing to install with.
    #[error(
        "opencode is not installed and npm is not on PATH; install Node.js, or opencode {PINNED} by hand"
    )]
    NoNpm,
    /// npm failed.
    #[error("npm install of opencode {release} failed{tail}")]
    Npm {
        /// What was to be installed.
        release: String,
        /// What it said last.
        tail: Tail,
    },
    /// No home directory is known, so there is no cache directory.
    #[error("there is no home directory to install opencode into; name a cache directory")]
    NoHome,
    /// The cache directory cannot be used.
    #[error("cannot install opencode into {}", path.display())]
    Cache {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}
