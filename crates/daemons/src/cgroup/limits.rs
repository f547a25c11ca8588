//! What a workspace may hold, as settings of its daemon's group, controller by controller.

use std::collections::BTreeMap;

use super::{Events, Group, Groups};
use crate::allowance::{Allowance, Excess};

/// Processes and threads that a daemon itself may be, and each process of its commands. The kernel counts both alike, and the
/// setting counts processes: this is what ordinary ones do not come near, and a bomb does at once.
const THREADS_OF_DAEMON: usize = 512;
const THREADS_OF_PROCESS: usize = 32;

/// The period of which a share is given, in microseconds: the kernel's own.
const PERIOD: u64 = 100_000;

/// A controller of cgroup v2 that a setting of a workspace needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Controller {
    Memory,
    Pids,
    Cpu,
    Io,
}

impl Controller {
    pub(super) const ALL: [Self; 4] = [Self::Memory, Self::Pids, Self::Cpu, Self::Io];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::Io => "io",
        }
    }

    /// The key of the host's configuration that it holds.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Memory => "memory_mb",
            Self::Pids => "max_processes",
            Self::Cpu => "cpu_percent",
            Self::Io => "io_weight",
        }
    }

    /// Those of the limits that there are.
    pub(crate) fn asked(allowance: Allowance) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |controller| !controller.settings(allowance).is_empty())
    }

    /// Whether the host counts what the controller would hold, where it is not to be had.
    pub(crate) fn is_counted_without(self) -> bool {
        matches!(self, Self::Memory | Self::Pids)
    }

    /// Its settings in a group; none where there is no limit.
    pub(super) fn settings(self, allowance: Allowance) -> Vec<Setting> {
        let setting = |file, value| Setting { file, value, may_be_missing: false };
        match self {
            Self::Memory => allowance.memory_mb.map_or_else(Vec::new, |most| {
                // What is swapped out is held as well. A kernel without swap has no such file.
                let swap = Setting { file: "memory.swap.max", value: "0".to_owned(), may_be_missing: true };
                vec![setting("memory.max", (most << 20).to_string()), swap]
            }),
            Self::Pids => allowance
                .processes
                .map_or_else(Vec::new, |most| vec![setting("pids.max", threads(most).to_string())]),
            Self::Cpu => allowance.cpu_percent.map_or_else(Vec::new, |percent| {
                vec![setting("cpu.max", format!("{} {PERIOD}", u64::from(percent) * PERIOD / 100))]
            }),
            Self::Io => allowance
                .io_weight
                .map_or_else(Vec::new, |weight| vec![setting("io.weight", format!("default {weight}"))]),
        }
    }
}

/// How many processes and threads there may be for so many processes of commands.
fn threads(processes: usize) -> usize {
    processes.saturating_mul(THREADS_OF_PROCESS).saturating_add(THREADS_OF_DAEMON)
}

/// One file of a group, and what is written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) file: &'static str,
    pub(super) value: String,
    pub(super) may_be_missing: bool,
}

/// What holds the limits of one daemon: the kernel, or why it does not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    /// Of the limits that there are alone.
    held: BTreeMap<Controller, Result<(), String>>,
    /// What the group had told when it was last looked at.
    seen: Events,
}

impl Limits {
    /// Those of a daemon without a group, for this reason.
    pub(crate) fn none(allowance: Allowance, why: &str) -> Self {
        Self {
            held: Controller::asked(allowance).map(|it| (it, Err(why.to_owned()))).collect(),
            seen: Events::default(),
        }
    }

    /// Sets those of a group in `groups`.
    pub(crate) fn set(allowance: Allowance, group: &Group, groups: Option<&Groups>) -> Self {
        let set = |controller: Controller| {
            if let Some(why) = groups.and_then(|groups| groups.refused(controller)) {
                return Err(why.to_owned());
            }
            controller.settings(allowance).iter().try_for_each(|setting| group.set(setting))
        };
        Self { held: Controller::asked(allowance).map(|it| (it, set(it))).collect(), seen: group.events() }
    }

    /// What is left to be counted.
    pub(crate) fn counted(&self, allowance: Allowance) -> Allowance {
        let memory_mb = allowance.memory_mb.filter(|_| !self.hold(Controller::Memory));
        Allowance { memory_mb, ..allowance }
    }

    /// Which limit the kernel held since this was last asked.
    pub(crate) fn exceeded(&mut self, allowance: Allowance, group: &Group) -> Option<Excess> {
        let (before, now) = (self.seen, group.events());
        self.seen = now;
        if now.memory > before.memory && self.hold(Controller::Memory) {
            return allowance.memory_mb.map(|most| Excess::Memory { held: most, most });
        }
        let refused = now.processes > before.processes && self.hold(Controller::Pids);
        allowance.processes.filter(|_| refused).map(|most| Excess::Threads { most: threads(most) })
    }

    /// One line for a person, if there is any limit.
    pub(crate) fn words(&self) -> Option<String> {
        let word = |(controller, held): (&Controller, &Result<(), String>)| match held {
            Ok(()) => format!("{} is held by the kernel", controller.key()),
            Err(why) if controller.is_counted_without() => format!("{} is counted: {why}", controller.key()),
            Err(why) => format!("nothing holds {}: {why}", controller.key()),
        };
        let words: Vec<_> = self.held.iter().map(word).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    fn hold(&self, controller: Controller) -> bool {
        self.held.get(&controller).is_some_and(Result::is_ok)
    }
}
