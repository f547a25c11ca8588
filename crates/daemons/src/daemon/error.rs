//! Why there is no daemon. In every case nothing of ours is left running.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use connector_files::Log;

use crate::diagnosis::Diagnosis;
use crate::health::HealthError;
use crate::version::VersionError;

/// Why a daemon could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory to serve is missing, is no directory, or cannot be entered.
    #[error("workspace directory {} cannot be used", path.display())]
    Directory {
        /// As configured.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A binary cannot be started: opencode, or what puts up its walls.
    #[error("program {} cannot be started", path.display())]
    Program {
        /// The one that was started.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Somebody else listens on the port. They were not spoken to.
    #[error("port {port} is taken by another process")]
    PortTaken {
        /// The port asked for.
        port: u16,
    },
    /// The process ended before it answered.
    #[error("opencode ended while starting ({status}){diagnosis}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// What is known of the reason.
        diagnosis: Diagnosis,
    },
    /// The process runs but did not answer in time; it was killed.
    #[error("opencode did not answer within {limit:?} and was ended{diagnosis}")]
    TimedOut {
        /// The start-up limit.
        limit: Duration,
        /// What is known of the reason.
        diagnosis: Diagnosis,
    },
    /// It answered as something else than opencode 1.x; it was killed.
    #[error("the started process does not answer as opencode and was ended")]
    Foreign(#[source] HealthError),
    /// It answered with a version that is not spoken to; it was killed.
    #[error("the started daemon is refused")]
    Version(#[from] VersionError),
    /// The daemon's record is held by another host.
    #[error("daemon record {} is in use by another host", path.display())]
    InUse {
        /// The state file.
        path: PathBuf,
    },
    /// The daemon's record cannot be read or written.
    #[error("daemon record {} cannot be read or written", path.display())]
    Record {
        /// The state file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The system refused something else.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

impl StartError {
    /// The same, with what the process printed moved to `log`.
    #[must_use]
    pub(crate) fn keep(self, log: &Log) -> Self {
        match self {
            Self::Ended { status, diagnosis } => Self::Ended { status, diagnosis: diagnosis.keep(Some(log)) },
            Self::TimedOut { limit, diagnosis } => {
                Self::TimedOut { limit, diagnosis: diagnosis.keep(Some(log)) }
            }
            other => other,
        }
    }

    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
