//! How a command ends, as a process sees it.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use connector_contract::chain;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked.
    Done,
    /// What was asked for failed or was denied.
    Failed,
    /// It was called wrongly, or the configuration is wrong.
    Usage,
    /// What was waited for was refused by whoever decides, or nobody decided in time.
    Denied,
    /// What was waited for came to nothing: no rule fired.
    Nothing,
    /// It goes on; the time to wait for it is over.
    Running,
}

/// Why a command could not do its work, in the words people read.
#[derive(Debug)]
pub struct Failure {
    /// Which exit it means.
    pub exit: Exit,
    /// What went wrong, with its causes. Empty when there is nothing to say.
    pub text: String,
}

impl Exit {
    /// The process's exit code.
    pub fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Denied => 3,
            Self::Nothing => 4,
            Self::Running => 5,
        })
    }
}

impl Failure {
    /// The configuration or the arguments are wrong.
    pub fn usage(text: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, text: text.into() }
    }

    /// What was asked for failed.
    pub fn failed(text: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, text: text.into() }
    }
}

impl<E: Error + 'static> From<E> for Failure {
    /// Whatever stops a command and is not a mistake of its caller is a failure.
    fn from(error: E) -> Self {
        let error: &(dyn Error + 'static) = &error;
        // Whoever read the output has seen enough, as with `| head`.
        let closed =
            error.downcast_ref::<io::Error>().is_some_and(|it| it.kind() == io::ErrorKind::BrokenPipe);
        if closed {
            return Self { exit: Exit::Done, text: String::new() };
        }
        Self::failed(chain(error))
    }
}
