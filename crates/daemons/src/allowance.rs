//! What a daemon and everything it starts may hold together, and what is done about more.
//!
//! Looked at by counting, twice a second, because neither can be left to the kernel everywhere, but where the daemon has a
//! [group](crate::cgroup) of its own: a limit on a user's processes counts those of other programs and does not hold for root, and one on
//! a process's memory says nothing of a hundred processes. Between two looks more may be held.
//!
//! Never does: end the daemon for what a command does, nor a command for what another workspace does.

use std::fmt;
use std::time::Duration;

use crate::process::Family;

/// How often is looked.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The least of `memory_mb`: a daemon alone holds about half a gigabyte.
pub(crate) const LEAST_MEMORY: u64 = 1024;

/// What a workspace may hold. No limit where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Private memory of the daemon and its commands, in MiB.
    pub(crate) memory_mb: Option<u64>,
    /// Processes of the agent's commands.
    pub(crate) processes: Option<usize>,
    /// Temporary files and the daemon's own data, in MiB.
    pub(crate) disk_mb: Option<u64>,
    /// Processor time of all of them, in percent of one processor. Nothing counts it.
    pub(crate) cpu_percent: Option<u32>,
    /// How they weigh at disks. Nothing counts it.
    pub(crate) io_weight: Option<u32>,
}

/// What was held beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    Memory {
        held: u64,
        most: u64,
    },
    Processes {
        held: usize,
        most: usize,
    },
    /// Processes and their threads, which the kernel counts together.
    Threads {
        most: usize,
    },
    Disk {
        most: u64,
    },
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { held, most } => write!(f, "{held} MiB of memory are held, and {most} allowed"),
            Self::Processes { held, most } => write!(f, "{held} processes run, and {most} are allowed"),
            Self::Threads { most } => write!(f, "{most} processes and threads run, and no more are allowed"),
            Self::Disk { most } => {
                write!(
                    f,
                    "temporary files and sessions hold more than the {most} MiB that are allowed on the disk"
                )
            }
        }
    }
}

/// How many looks in a row may find too much: what goes on then is not the commands' doing.
const OVERRUNS: u32 = 10;

/// Too much, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overrun {
    pub(crate) excess: Excess,
    /// Whether it was counted. Else the kernel has held it already.
    pub(crate) counted: bool,
    /// Whether there were commands, which are ended.
    pub(crate) any: bool,
}

impl Overrun {
    /// Whether the daemon itself has to end, where so many looks in a row counted too much: there is nothing else to end, or too much stays
    /// held whatever is ended.
    pub(crate) fn ends_daemon(self, row: u32) -> bool {
        self.counted && (!self.any || row >= OVERRUNS)
    }
}

impl fmt::Display for Overrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = if self.any { "the agent's commands are ended" } else { "there is no command to end" };
        write!(f, "{}; {done}", self.excess)
    }
}

impl Allowance {
    pub(crate) fn are_none(self) -> bool {
        self == Self::default()
    }

    /// What the family of a daemon holds too much of now.
    pub(crate) fn exceeded(self, family: &Family) -> Option<Excess> {
        self.exceeded_by(family, || family.commands().len())
    }

    /// What the family of a command that the host runs itself holds too much of now; `ours` of its processes are the
    /// walls.
    pub(crate) fn exceeded_by_command(self, family: &Family, ours: usize) -> Option<Excess> {
        self.exceeded_by(family, || family.members().len().saturating_sub(ours))
    }

    fn exceeded_by(self, family: &Family, processes: impl FnOnce() -> usize) -> Option<Excess> {
        if let Some(most) = self.processes {
            let held = processes();
            if held > most {
                return Some(Excess::Processes { held, most });
            }
        }
        let most = self.memory_mb?;
        let held = family.memory() >> 20;
        (held > most).then_some(Excess::Memory { held, most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_ends_for_what_is_counted_and_never_for_what_the_kernel_held() {
        let excess = Excess::Threads { most: 1 };
        for (counted, any, row, ends) in [
            (true, true, 1, false),
            (true, true, OVERRUNS - 1, false),
            (true, true, OVERRUNS, true),
            (true, false, 1, true),
            (false, true, OVERRUNS, false),
            (false, false, 1, false),
            (false, false, OVERRUNS, false),
        ] {
            let overrun = Overrun { excess, counted, any };
            assert_eq!(overrun.ends_daemon(row), ends, "{overrun:?}, {row}");
        }
    }
}
