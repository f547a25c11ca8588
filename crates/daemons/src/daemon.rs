//! One `opencode serve` process: started, proven, watched, ended.
//!
//! A [`Spec`] says everything; [`Daemon::start`] carries it out and returns when the daemon
//! answers with an acceptable version. The daemon leads a process group of its own and carries a
//! random mark in its environment, so that everything it starts can be found and ended with it.
//! Its output goes to a file that its owner alone reads; an error has a [`Diagnosis`](crate::Diagnosis) of it.
//!
//! Nothing here belongs to a runtime: a daemon started in one may be used and dropped in another.

mod adopt;
mod contain;
mod error;
mod spec;
mod start;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use secrecy::SecretString;

use crate::cgroup::Limits;
use crate::egress::Egress;
pub use crate::health::HealthError;
use crate::keys::LoginCopy;
use crate::output_log::OutputLog;
pub use crate::process::Exit;
use crate::process::{Family, Leader, ProcessId};
use crate::record::{Record, RecordFile};
use crate::resource_limits::{Excess, Overrun, ResourceLimits};
use adopt::Outdated;
pub use adopt::{Adopted, Unfit};
pub(crate) use contain::Contained;
pub use error::StartError;
pub use spec::{Home, Port, Spec};
pub(crate) use spec::{OWN, lay_over};
pub(crate) use start::secrets;

/// A daemon that answers.
///
/// Dropping it kills it and everything it started, at once and without asking (the agent's turn
/// is lost, its session is not), and waits for the kernel to let go of it. [`stop`](Self::stop)
/// asks first; [`leave`](Self::leave) lets it go on without us.
pub struct Daemon {
    leader: Leader,
    family: Family,
    port: u16,
    password: SecretString,
    directory: PathBuf,
    version: String,
    output_log: OutputLog,
    grace: Duration,
    record: Option<(RecordFile, Record)>,
    ends_on_drop: bool,
    /// What holds its limits.
    limits: Limits,
    /// Commands that were asked to end, and when.
    asked: BTreeMap<ProcessId, Instant>,
    /// The proxies at which it finds its models. They end with it.
    egress: Option<Egress>,
    /// The logins that it has, and what it renews of them.
    logins: Option<LoginCopy>,
}

impl Daemon {
    /// Starts a daemon and waits until it answers. When the future is dropped, or fails, nothing
    /// of it is left running.
    pub async fn start(spec: Spec) -> Result<Self, StartError> {
        start::start(&spec, None).await
    }

    /// Takes over the daemon recorded in the state file `record`, if it proves to be ours and to
    /// be what `spec` asks for; otherwise ends it and starts anew.
    ///
    /// The recorded process is signalled only if pid, start time and boot, or its mark, prove that
    /// it is ours, and the password is sent only to a port on which that process listens. The file
    /// stays locked while the `Daemon` lives.
    pub async fn adopt_or_start(spec: Spec, record: &Path) -> Result<(Self, Adopted), StartError> {
        adopt::adopt_or_start(&spec, record, Outdated::Ended).await
    }

    /// The same, but one of another configuration goes on, as [`Adopted::Outdated`].
    pub(crate) async fn take_over_or_start(
        spec: &Spec,
        record: &Path,
    ) -> Result<(Self, Adopted), StartError> {
        adopt::adopt_or_start(spec, record, Outdated::Kept).await
    }

    /// The same, but starts none: one that cannot go on is ended, and its record removed.
    pub(crate) async fn take_over(spec: &Spec, record: &Path) -> Result<Option<(Self, Adopted)>, StartError> {
        adopt::adopt(spec, record, Outdated::Kept).await
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its password, for the user `opencode`.
    pub fn password(&self) -> &SecretString {
        &self.password
    }

    /// The directory it serves, canonical.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its version, as it said itself.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its process, which is also its process group.
    pub fn pid(&self) -> Option<u32> {
        match &self.leader {
            Leader::Child(child) => Some(child.id()),
            Leader::Found(id) => Some(id.pid),
        }
    }

    /// The last lines it printed, for its owner's eyes: they may hold anything.
    pub fn output_tail(&self) -> Vec<String> {
        self.output_log.tail()
    }

    /// The lines it printed since the last call, for its owner's eyes.
    pub(crate) fn drain_output(&mut self) -> Vec<String> {
        self.output_log.drain().unwrap_or_default()
    }

    /// How it ended, or nothing while it runs.
    pub fn try_exit(&mut self) -> Option<Exit> {
        self.leader.try_exit().unwrap_or(Some(Exit::Unknown))
    }

    /// Waits for the process to end by itself. Dropping the future loses nothing.
    pub async fn exited(&mut self) -> Exit {
        self.leader.exited().await
    }

    /// Whether it still finds its models.
    pub(crate) fn has_models(&mut self) -> bool {
        self.egress.as_mut().is_none_or(Egress::runs)
    }

    /// Whether it answers to its password.
    pub async fn health(&self) -> Result<String, HealthError> {
        let (family, port) = (self.family.clone(), self.port);
        if !tokio::task::spawn_blocking(move || family.listens_on(port)).await.unwrap_or(false) {
            return Err(HealthError::Silent);
        }
        crate::health::version(self.port, &self.password, Some(&self.version)).await
    }

    /// A look at its logins, which may block: what it renewed is taken back, and what the user did is passed on.
    pub(crate) fn keep_logins(&self) -> impl FnOnce() + Send + 'static {
        let logins = self.logins.clone();
        move || {
            // It is tried again a moment later, and said when the daemon ends.
            if let Some(Err(error)) = logins.as_ref().map(LoginCopy::exchange) {
                tracing::debug!(%error, "a daemon's logins cannot be looked at");
            }
        }
    }

    /// A look at whether it still serves what `path` names, which may block. A directory that was
    /// moved, deleted, mounted over or replaced by a link is another one: the walls are around the one
    /// that was there at the start.
    pub(crate) fn place(&self, path: &Path) -> impl FnOnce() -> bool + Send + 'static {
        let (path, directory, leader) = (path.to_owned(), self.directory.clone(), self.family.leader.clone());
        move || {
            let same = path.canonicalize().is_ok_and(|now| now == directory);
            same && leader.is_none_or(|leader| leader.runs_in(&directory))
        }
    }

    /// Ends the agent's commands, and nothing else, when it and they hold too much, or the kernel kept them from it. It is counted
    /// besides what the kernel holds: who gave us the group may take its limits away. The process table is read where that holds nobody up.
    pub(crate) async fn keep_to(&mut self, resource_limits: ResourceLimits) -> Option<Overrun> {
        if resource_limits.are_none() {
            return None;
        }
        let held = self.held_by_kernel(resource_limits);
        let slowed =
            self.family.group.as_ref().and_then(|group| self.limits.is_slowed(resource_limits, group));
        let (family, mut asked) = (self.family.clone(), std::mem::take(&mut self.asked));
        let look = move || {
            let found = resource_limits.exceeded(&family).or(slowed).or(held);
            let overrun = found.map(|excess| Overrun { excess, any: family.end_commands(&mut asked) });
            (overrun, asked)
        };
        let (overrun, asked) = tokio::task::spawn_blocking(look).await.ok()?;
        self.asked = asked;
        overrun
    }

    /// Which limit the kernel held since this was last asked.
    pub(crate) fn held_by_kernel(&mut self, resource_limits: ResourceLimits) -> Option<Excess> {
        self.limits.exceeded(resource_limits, self.family.group.as_ref()?)
    }

    /// Ends the agent's commands, and nothing else; says whether there were any.
    pub(crate) async fn end_commands(&mut self) -> bool {
        let (family, mut asked) = (self.family.clone(), std::mem::take(&mut self.asked));
        let end = move || (family.end_commands(&mut asked), asked);
        let Ok((any, asked)) = tokio::task::spawn_blocking(end).await else { return false };
        self.asked = asked;
        any
    }

    /// Ends the daemon: SIGTERM to its group, after the grace SIGKILL to everything it started.
    pub async fn stop(mut self) {
        let family = self.family.clone();
        family.end(&mut self.leader, self.grace).await;
    }

    /// Kills the daemon's own process and nothing else, as a crash would. For tests of what comes after.
    pub async fn kill9(&mut self) {
        self.family.signal_leader(Signal::KILL);
        self.leader.exited().await;
    }

    /// Lets the daemon go on without this host. With a record, a later host finds it again.
    pub fn leave(mut self) {
        self.ends_on_drop = false;
    }
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon")
            .field("pid", &self.pid())
            .field("port", &self.port)
            .field("directory", &self.directory)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.ends_on_drop {
            return;
        }
        self.family.end_now();
        self.leader.reap();
        if let Some(egress) = &mut self.egress {
            egress.end();
        }
        if let Some(Err(error)) = self.logins.as_ref().map(LoginCopy::exchange) {
            tracing::warn!(%error, "a login that a daemon renewed cannot be taken back; log in again if it fails");
        }
        if let Some((file, _)) = &self.record {
            file.remove();
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
