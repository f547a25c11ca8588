//! What a daemon and everything it starts may hold together, and what is done about more.
//!
//! Looked at by counting, twice a second, because neither can be left to the kernel everywhere, but where the daemon has a
//! [group](crate::cgroup) of its own: a limit on a user's processes counts those of other programs and does not hold for root, and one on
//! a process's memory says nothing of a hundred processes. Between two looks more may be held.
//!
//! Never does: end the daemon for what a command does, nor a command for what another workspace does.

use std::fmt;
use std::time::Duration;

use crate::process::{Family, HEEDS};

/// How often is looked.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The least of `memory_mb`: a daemon alone holds about half a gigabyte.
pub(crate) const LEAST_MEMORY: u64 = 1024;

/// What a workspace may hold. No limit where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ResourceLimits {
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
    /// Memory that cannot be given back, while the kernel slows down who takes more.
    Slowed {
        kept: u64,
        most: u64,
    },
    /// Memory for which the kernel ended a process.
    Ended {
        ceiling: u64,
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
            Self::Slowed { kept, most } => {
                write!(f, "{kept} MiB of memory are kept while more is taken, and {most} allowed")
            }
            Self::Ended { ceiling, most } => {
                write!(f, "the kernel ended a process at {ceiling} MiB of memory, and {most} allowed")
            }
            Self::Processes { held, most } => write!(f, "{held} processes run, and {most} are allowed"),
            Self::Threads { most } => {
                write!(f, "more than {most} processes and threads were wanted, and no more are allowed")
            }
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
const OVERRUNS: u32 = 20;

/// A command that heeds no request to end is killed long before the daemon would be ended for it.
const _: () = assert!(LOOK_EVERY.as_millis() * (OVERRUNS as u128) >= 2 * HEEDS.as_millis());

/// Too much, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overrun {
    pub(crate) excess: Excess,
    /// Whether there were commands, which are ended.
    pub(crate) any: bool,
}

/// How many looks in a row found what goes on.
#[derive(Debug, Default)]
pub(crate) struct Row(u32);

impl Row {
    /// Takes what a look found; says whether the daemon itself has to end for it: there is nothing else to end, or too much stays held
    /// whatever is ended. Not for what the kernel has held already. Nor at once for being slowed down below the limit, which ordinary
    /// work comes to and gets over.
    pub(crate) fn ends_daemon(&mut self, found: Option<Overrun>) -> bool {
        let Some(Overrun { excess, any }) = found else {
            self.0 = 0;
            return false;
        };
        let at_once = match excess {
            Excess::Ended { .. } | Excess::Threads { .. } => {
                self.0 = 0;
                return false;
            }
            Excess::Slowed { kept, most } => kept >= most,
            Excess::Memory { .. } | Excess::Processes { .. } | Excess::Disk { .. } => true,
        };
        self.0 += 1;
        self.0 >= OVERRUNS || at_once && !any
    }
}

impl fmt::Display for Overrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = if self.any { "the agent's commands are ended" } else { "there is no command to end" };
        write!(f, "{}; {done}", self.excess)
    }
}

impl ResourceLimits {
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
    fn a_daemon_ends_for_what_goes_on_and_never_for_what_the_kernel_held() {
        let counted = Excess::Memory { held: 2, most: 1 };
        let processes = Excess::Processes { held: 2, most: 1 };
        let (near, over) = (Excess::Slowed { kept: 9, most: 10 }, Excess::Slowed { kept: 10, most: 10 });
        let held = [Excess::Threads { most: 1 }, Excess::Ended { ceiling: 5, most: 4 }];
        // What each look finds, whether there is anything else to end, and at which look the daemon has to end, if at any.
        for (excess, any, at) in [
            (counted, true, Some(OVERRUNS)),
            (counted, false, Some(1)),
            (processes, true, Some(OVERRUNS)),
            (processes, false, Some(1)),
            (near, true, Some(OVERRUNS)),
            (near, false, Some(OVERRUNS)),
            (over, true, Some(OVERRUNS)),
            (over, false, Some(1)),
            (held[0], true, None),
            (held[0], false, None),
            (held[1], true, None),
            (held[1], false, None),
        ] {
            let mut row = Row::default();
            let ends = (1..=2 * OVERRUNS).find(|_| row.ends_daemon(Some(Overrun { excess, any })));
            assert_eq!(ends, at, "{excess:?}, {any}");
        }
    }

    #[test]
    fn a_row_begins_anew_once_a_look_finds_nothing_that_goes_on() {
        let slowed = || Some(Overrun { excess: Excess::Slowed { kept: 9, most: 10 }, any: false });
        for between in [None, Some(Overrun { excess: Excess::Threads { most: 1 }, any: true })] {
            let mut row = Row::default();
            for _ in 1..OVERRUNS {
                assert!(!row.ends_daemon(slowed()));
            }
            assert!(!row.ends_daemon(between), "{between:?}");
            assert_eq!((1..=OVERRUNS).find(|_| row.ends_daemon(slowed())), Some(OVERRUNS), "{between:?}");
        }
    }
}
