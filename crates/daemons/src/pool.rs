//! One daemon per workspace, started when wanted, ended when idle, restarted when it dies.
//!
//! [`Pool`] is the handle, a control message says what is wanted, and a [`Lease`] is the ticket
//! that keeps a daemon from being evicted. One task owns every decision, in a synchronous core
//! (`scheduler`): it is told what happened and answers with what to do. One more task per running
//! daemon (`supervisor`) does the waiting, so that a slow start delays nobody else.
//!
//! Never does: end a daemon that is leased, except when told to; hold a lock while it waits; speak
//! to a daemon beyond its health.

mod actor;
mod budget;
mod config;
mod lease;
mod limits;
mod port;
mod scheduler;
mod supervisor;
mod terms;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use connector_files::Log;
use tokio::sync::{mpsc, oneshot};

pub(crate) use config::tmp;
pub use config::{Action, ConfigError, Confine, Isolation, OnExit, PoolConfig, WorkspaceConfig};
pub use lease::{Address, Lease};
pub use limits::{HeldLimit, HeldLimits, Holder, TO_DELEGATE};
pub use scheduler::{Refusal, Wait};

use crate::daemon::Home;
use crate::environment::Environment;
use actor::Control;

/// Where the pool finds what it needs.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The opencode binary.
    pub program: PathBuf,
    /// The host's environment, of which daemons get the allowed part.
    pub environment: Environment,
    /// The directory for records and logs, the host's alone.
    pub state: PathBuf,
    /// The binary that puts up the walls: one that calls [`relaunch`](crate::confine::relaunch)
    /// first thing in its `main`, usually the host itself. Without one there are no walls.
    pub launcher: Option<PathBuf>,
    /// Whose configuration the daemons use. With the user's, each workspace has sessions of its own,
    /// below `state`.
    pub home: Home,
}

/// The port that a daemon of this directory listens on, while nobody else has it.
pub fn preferred_port(directory: &std::path::Path) -> u16 {
    port::candidates(directory).first().copied().unwrap_or_default()
}

/// What became of the daemons of a workspace, in our words, for the pool whose state directory is
/// `state`, whether or not it runs.
pub fn log_in(state: &Path, workspace: &str) -> Log {
    Log::at(state.join(format!("{workspace}.log")))
}

/// What the daemons of a workspace printed, over their restarts. It may hold anything, keys included:
/// it is for the owner's eyes.
pub fn printed_in(state: &Path, workspace: &str) -> Log {
    Log::at(state.join(format!("{workspace}.printed.log")))
}

/// How one workspace stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The workspace's name.
    pub workspace: String,
    /// The directory, as configured.
    pub directory: PathBuf,
    /// What its daemon does.
    pub phase: Phase,
    /// How many leases are out.
    pub leases: usize,
    /// Where it listens, while it runs.
    pub address: Option<Address>,
}

/// What the daemon of a workspace does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing; there is no process.
    Cold,
    /// It starts.
    Starting,
    /// It answers.
    Ready,
    /// It ends.
    Stopping,
    /// It died, and waits before it starts again.
    Resting,
}

/// What becomes of an earlier host's daemons of workspaces that this one has not configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// They are of nobody any more, and are ended.
    End,
    /// They are another configuration's, and left for it.
    Leave,
}

/// Why there is no lease.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PoolError {
    /// No such workspace.
    #[error("there is no workspace `{0}`")]
    Unknown(String),
    /// The pool refused.
    #[error("workspace `{workspace}` has no daemon")]
    Refused {
        /// The workspace.
        workspace: String,
        /// Why.
        source: Refusal,
    },
    /// The daemon works, so it is not stopped without force.
    #[error("the daemon of workspace `{0}` works; stop it anyway with force")]
    Working(String),
    /// The pool has ended.
    #[error("the daemons are being shut down")]
    Ended,
}

/// The pool's handle; clones share it.
///
/// When the last handle and the last lease are gone, the pool ends as
/// [`shutdown`](Self::shutdown) does, but nobody waits for it.
#[derive(Debug, Clone)]
pub struct Pool {
    control: mpsc::UnboundedSender<Control>,
    logs: Arc<PathBuf>,
}

impl Pool {
    /// Makes the pool; nothing is started yet. Needs a Tokio runtime. If the runtime goes away
    /// first, running daemons are killed.
    pub fn new(config: &PoolConfig, surroundings: &Surroundings) -> Result<Self, ConfigError> {
        if surroundings.environment.has_relative_path() {
            tracing::warn!(
                "PATH has relative or empty entries: daemons, their commands and git do without these"
            );
        }
        let (control, controls) = mpsc::unbounded_channel();
        let actor = actor::PoolActor::new(config, surroundings, control.downgrade())?;
        tokio::spawn(actor.run(controls));
        Ok(Self { control, logs: Arc::new(surroundings.state.clone()) })
    }

    /// Waits for a daemon that answers, and keeps it while the lease lives. `told` hears, at most
    /// once per reason, why it takes time. Dropping the future gives the place in the queue up.
    pub async fn lease(
        &self,
        workspace: &str,
        told: impl Fn(Wait) + Send + 'static,
    ) -> Result<Lease, PoolError> {
        self.ask(workspace, false, Box::new(told)).await
    }

    /// The same for what was begun on this daemon earlier: the daemon of an earlier host is good for
    /// that even if it was started with another configuration.
    pub async fn lease_to_finish(
        &self,
        workspace: &str,
        told: impl Fn(Wait) + Send + 'static,
    ) -> Result<Lease, PoolError> {
        self.ask(workspace, true, Box::new(told)).await
    }

    async fn ask(
        &self,
        workspace: &str,
        finishes: bool,
        told: Box<dyn Fn(Wait) + Send>,
    ) -> Result<Lease, PoolError> {
        let (answer, granted) = oneshot::channel();
        let ask = Control::Lease { workspace: workspace.to_owned(), finishes, told, answer };
        self.control.send(ask).map_err(|_| PoolError::Ended)?;
        granted.await.map_err(|_| PoolError::Ended)?
    }

    /// Takes over the daemons that an earlier host left in the state directory, as idle ones, and does
    /// with `others`, those of workspaces that are not configured, as told. Returns at once; needs a
    /// Tokio runtime.
    pub fn take_over(&self, others: Others) {
        let (state, control) = (Arc::clone(&self.logs), self.control.clone());
        tokio::task::spawn_blocking(move || match crate::registry::on_record(&state) {
            Ok(found) => {
                let names = found.into_iter().map(|known| known.workspace);
                names.for_each(|workspace| drop(control.send(Control::Found { workspace, others })));
            }
            Err(error) => tracing::warn!(%error, "an earlier host's daemons cannot be looked for"),
        });
    }

    /// Starts the daemon of a workspace ahead of its use, if there is room or an idle one to end.
    pub fn warm(&self, workspace: &str) {
        let _ = self.control.send(Control::Warm { workspace: workspace.to_owned() });
    }

    /// How every workspace stands, by name.
    pub async fn list(&self) -> Result<Vec<Status>, PoolError> {
        let (answer, listed) = oneshot::channel();
        self.control.send(Control::List { answer }).map_err(|_| PoolError::Ended)?;
        listed.await.map_err(|_| PoolError::Ended)
    }

    /// Ends the daemon of a workspace and waits until it is gone. One that works is only ended with `force`.
    pub async fn stop(&self, workspace: &str, force: bool) -> Result<(), PoolError> {
        let (answer, stopped) = oneshot::channel();
        let control = Control::Stop { workspace: workspace.to_owned(), force, answer };
        self.control.send(control).map_err(|_| PoolError::Ended)?;
        stopped.await.map_err(|_| PoolError::Ended)?
    }

    /// What became of the daemons of a workspace, in our words.
    pub fn logs(&self, workspace: &str, lines: usize) -> std::io::Result<Vec<String>> {
        log_in(&self.logs, workspace).tail(lines)
    }

    /// Ends the pool: every daemon is stopped, or left running for the next host, as configured.
    pub async fn shutdown(&self) {
        let (answer, ended) = oneshot::channel();
        if self.control.send(Control::Shutdown { answer }).is_ok() {
            let _ = ended.await;
        }
    }
}
