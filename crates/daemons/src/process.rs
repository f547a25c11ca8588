//! Which processes are ours, proven, and how all of them are ended.
//!
//! A process is named by pid, start time and boot, so that a reused pid is never mistaken for it.
//! A [`Family`] is a leader and everything it started: its process group, its descendants, whatever
//! carries its mark in the environment, and all that is in its cgroup, if it has one. The mark is needed because opencode starts each
//! command in a session of its own: a signal to the daemon's group does not reach them.
//!
//! Never does: signal a process that it has not proven to belong to the family.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::cgroup::Group;

#[cfg(target_os = "linux")]
#[path = "process/linux.rs"]
mod os;
#[cfg(not(target_os = "linux"))]
#[path = "process/other.rs"]
mod os;

/// The variable that marks every process of one family.
pub(crate) const MARK: &str = "OPENCODE_DAEMONS_MARK";

const POLL: Duration = Duration::from_millis(25);
/// How long a command that the daemon waits for may take to end once it is asked to.
pub(crate) const HEEDS: Duration = Duration::from_secs(5);
/// How often the process table is read before giving up on processes that do not end.
const ROUNDS: usize = 2_000;

/// A process that cannot be confused with a later one of the same number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProcessId {
    pub(crate) pid: u32,
    /// Clock ticks since boot, from the kernel's process table; 0 where there is none to read.
    pub(crate) started: u64,
    /// The kernel's name for this boot.
    pub(crate) boot: String,
}

impl ProcessId {
    /// The live process of this number.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        os::identify(pid)
    }

    /// Whether this very process still runs. A zombie does not.
    pub(crate) fn is_alive(&self) -> bool {
        Self::of(self.pid).is_some_and(|now| now == *self)
    }

    /// Whether its working directory is this one; true where the system cannot be asked.
    pub(crate) fn runs_in(&self, directory: &Path) -> bool {
        os::runs_in(self, directory)
    }

    /// Ends this very process.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        os::signal(self, signal);
    }
}

/// A leader and everything it started.
#[derive(Debug, Clone)]
pub(crate) struct Family {
    pub(crate) leader: Option<ProcessId>,
    pub(crate) mark: String,
    /// The group that it is in, and nothing else.
    pub(crate) group: Option<Group>,
}

impl Family {
    /// Everything of the family that runs now.
    pub(crate) fn members(&self) -> BTreeSet<ProcessId> {
        os::members(self)
    }

    /// What the daemon started for its agent: opencode gives each command a process group of its
    /// own, and keeps what serves itself in the leader's.
    pub(crate) fn commands(&self) -> BTreeSet<ProcessId> {
        os::commands(self)
    }

    /// The memory that members hold and share with nobody, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.members().iter().map(os::memory).sum()
    }

    /// Ends the agent's commands and leaves the daemon; says whether there were any. They are stopped
    /// first, so that none starts another while the rest are ended. Those that the daemon waits for
    /// itself are asked to end, and killed when they still run [`HEEDS`] after that: `asked` remembers when.
    pub(crate) fn end_commands(&self, asked: &mut BTreeMap<ProcessId, Instant>) -> bool {
        let mut stopped = BTreeSet::new();
        for _ in 0..ROUNDS {
            let running: Vec<_> = self.commands().difference(&stopped).cloned().collect();
            if running.is_empty() {
                break;
            }
            for command in running {
                command.signal(Signal::STOP);
                stopped.insert(command);
            }
        }
        let awaited = os::children_of_leader(self);
        asked.retain(|command, _| stopped.contains(command));
        for command in &stopped {
            let heeds = awaited.contains(command)
                && asked.entry(command.clone()).or_insert_with(Instant::now).elapsed() < HEEDS;
            command.signal(if heeds { Signal::TERM } else { Signal::KILL });
        }
        for command in &awaited {
            command.signal(Signal::CONT);
        }
        !stopped.is_empty()
    }

    /// Whether a member listens on this loopback port, according to the kernel. It is usually the
    /// leader, for which the whole process table need not be read.
    pub(crate) fn listens_on(&self, port: u16) -> bool {
        let leader = || self.leader.iter().filter(|leader| leader.is_alive()).cloned().collect();
        os::listens_on(leader, port) || os::listens_on(|| self.members(), port)
    }

    /// Whether somebody else has this loopback port, so that no member can get it.
    pub(crate) fn is_without(&self, port: u16) -> bool {
        os::is_taken_from(|| self.members(), port)
    }

    /// Signals the leader's process group, if the leader is proven to run.
    pub(crate) fn signal_group(&self, signal: Signal) {
        let Some(leader) = self.leader.as_ref().filter(|leader| leader.is_alive()) else { return };
        if let Some(group) = pid(leader.pid) {
            ignore_gone(rustix::process::kill_process_group(group, signal));
        }
    }

    /// Signals the leader alone.
    pub(crate) fn signal_leader(&self, signal: Signal) {
        if let Some(leader) = &self.leader {
            leader.signal(signal);
        }
    }

    /// Kills until nothing of the family is left. Returns at once when nothing runs; gives up on
    /// processes that the kernel does not let go of.
    pub(crate) fn end_now(&self) {
        let group = self.group.as_ref().filter(|group| group.kill());
        for _ in 0..ROUNDS {
            self.signal_group(Signal::KILL);
            let members = self.members();
            if members.is_empty() {
                if let Some(group) = group {
                    group.remove();
                }
                return;
            }
            for member in members {
                member.signal(Signal::KILL);
            }
            std::thread::yield_now();
        }
        tracing::warn!(mark = self.mark, "some processes of a daemon could not be ended");
    }

    /// Asks the group to end, waits for it up to `grace`, then kills what is left.
    pub(crate) async fn end(&self, leader: &mut Leader, grace: Duration) {
        self.signal_group(Signal::TERM);
        let _ = tokio::time::timeout(grace, leader.exited()).await;
        let family = self.clone();
        // The process table is read where that holds nobody up.
        if tokio::task::spawn_blocking(move || family.end_now()).await.is_err() {
            tracing::warn!(mark = self.mark, "a daemon could not be ended");
        }
        leader.reap();
    }
}

/// The leader as its starter sees it: a child to be reaped, or a process found again.
pub(crate) enum Leader {
    Child(Child),
    Found(ProcessId),
}

/// How a leader ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was our child, and this is its status.
    Status(ExitStatus),
    /// It was started by an earlier host, so its status went elsewhere.
    Unknown,
}

impl Leader {
    /// How it ended, or nothing while it runs.
    pub(crate) fn try_exit(&mut self) -> io::Result<Option<Exit>> {
        match self {
            Self::Child(child) => Ok(child.try_wait()?.map(Exit::Status)),
            Self::Found(id) if id.is_alive() => Ok(None),
            Self::Found(_) => Ok(Some(Exit::Unknown)),
        }
    }

    /// Waits for the end. Polls, so that it belongs to no runtime; dropping it loses nothing.
    pub(crate) async fn exited(&mut self) -> Exit {
        loop {
            match self.try_exit() {
                Ok(None) => tokio::time::sleep(POLL).await,
                Ok(Some(exit)) => return exit,
                Err(_) => return Exit::Unknown,
            }
        }
    }

    /// Takes the status of a killed child, so that no zombie stays. Blocks until the child is gone.
    pub(crate) fn reap(&mut self) {
        if let Self::Child(child) = self
            && let Err(error) = child.kill().and_then(|()| child.wait())
        {
            tracing::debug!(%error, "could not reap a daemon");
        }
    }
}

pub(crate) fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

fn ignore_gone(result: rustix::io::Result<()>) {
    match result {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => tracing::warn!(%error, "could not signal a daemon's process"),
    }
}
