//! Why there is no opencode. Nothing was installed and nothing runs.

use std::io;
use std::path::PathBuf;

use crate::diagnosis::Diagnosis;
use crate::version::{PINNED, VersionError};

/// Where a given opencode was looked for, and what was found there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Looked {
    /// At a path.
    #[error("{} is not there", .0.display())]
    Nothing(PathBuf),
    /// At a path, where there is something else.
    #[error("{} is a directory", .0.display())]
    Directory(PathBuf),
    /// As a name in the directories of `PATH`.
    #[error("no directory of PATH has a program of that name ({})", if .0.is_empty() { "it is empty" } else { .0 })]
    Path(String),
}

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
    #[error("there is no opencode at {given}: {looked}; name another with `[opencode] path` or --opencode")]
    Missing {
        /// As given.
        given: String,
        /// Where it was looked for.
        looked: Looked,
    },
    /// The binary does not start, or does not print its version in time.
    #[error("{} does not print its version{diagnosis}", path.display())]
    Unusable {
        /// The binary.
        path: PathBuf,
        /// What is known of the reason.
        diagnosis: Diagnosis,
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
        "opencode is not installed: PATH has none ({path}), nor has {}, and there is no npm on PATH to install it \
         with; install Node.js, or opencode {PINNED} by hand",
        cache.display()
    )]
    NoNpm {
        /// Where programs were looked for.
        path: String,
        /// Where an earlier install would be.
        cache: PathBuf,
    },
    /// npm failed.
    #[error("npm install of opencode {release} failed{diagnosis}")]
    Npm {
        /// What was to be installed.
        release: String,
        /// What is known of the reason.
        diagnosis: Diagnosis,
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
