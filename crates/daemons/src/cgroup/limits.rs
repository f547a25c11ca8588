//! What a workspace may hold, as settings of its daemon's group, controller by controller.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Events, Group, Groups};
use crate::resource_limits::{Excess, ResourceLimits};

/// Processes and threads that a daemon itself may be, and each process of its commands. The kernel counts both alike, and the
/// setting counts processes: this is what ordinary ones do not come near, and a bomb does at once.
const THREADS_OF_DAEMON: usize = 512;
const THREADS_OF_PROCESS: usize = 32;

/// The part of the limit that may be held beyond it. There the kernel slows down who takes more, so that commands can be ended; behind
/// it, it ends who holds most, which may be the daemon.
const MARGIN: u64 = 4;

/// The part of the limit that may be missing while who takes more is slowed down: what is read again and again stays.
const THRASHED: u64 = 10;

/// The file behind which the kernel ends who holds most.
const CEILING: &str = "memory.max";

/// The period of which a share is given, in microseconds: the kernel's own.
const PERIOD: u64 = 100_000;

/// What everything weighs at disks that nothing else is said of.
const EVEN: u32 = 100;

/// The weight at disks whose scheduler is `bfq`.
const BFQ: &str = "io.bfq.weight";

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
    pub(crate) fn asked(resource_limits: ResourceLimits) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |controller| match controller {
            Self::Memory => resource_limits.memory_mb.is_some(),
            Self::Pids => resource_limits.processes.is_some(),
            Self::Cpu => resource_limits.cpu_percent.is_some(),
            Self::Io => resource_limits.io_weight.is_some(),
        })
    }

    /// Those that a group with such limits needs: theirs, and always the processor's, by which the host that looks has its share however
    /// many processes there are.
    pub(super) fn needed(resource_limits: ResourceLimits) -> impl Iterator<Item = Self> {
        let asked: Vec<_> = Self::asked(resource_limits).collect();
        Self::ALL.into_iter().filter(move |it| asked.contains(it) || *it == Self::Cpu && !asked.is_empty())
    }

    /// Whether the host counts what the controller would hold, where it is not to be had.
    pub(crate) fn is_counted_without(self) -> bool {
        matches!(self, Self::Memory | Self::Pids)
    }

    /// Its settings in a group, which are the kernel's own where there is no limit; or why none would act.
    pub(super) fn settings(
        self,
        resource_limits: ResourceLimits,
        group: &Path,
    ) -> Result<Vec<Setting>, String> {
        let or_max = |value: Option<String>| value.unwrap_or_else(|| "max".to_owned());
        let setting = |file, value| Setting { file, value, may_be_missing: false };
        Ok(match self {
            Self::Memory => {
                let most = resource_limits.memory_mb.map(|most| most.saturating_mul(MIB));
                // What is swapped out is held as well. A kernel without swap has no such file.
                let swap = or_max(most.map(|_| "0".to_owned()));
                let swap = Setting { may_be_missing: true, ..setting("memory.swap.max", swap) };
                let ceiling = most.map(|most| ceiling(most).to_string());
                let most = most.map(|most| most.to_string());
                vec![setting("memory.high", or_max(most)), setting(CEILING, or_max(ceiling)), swap]
            }
            Self::Pids => {
                vec![setting(
                    "pids.max",
                    or_max(resource_limits.processes.map(|most| threads(most).to_string())),
                )]
            }
            Self::Cpu => {
                let quota = |percent| format!("{} {PERIOD}", u64::from(percent) * PERIOD / 100);
                vec![setting("cpu.max", or_max(resource_limits.cpu_percent.map(quota)))]
            }
            Self::Io => io(resource_limits.io_weight, group)?,
        })
    }
}

/// What weighs at disks: the kernel's own model of their cost, where it is enabled for one, else the scheduler `bfq`, if there is any.
fn io(weight: Option<u32>, group: &Path) -> Result<Vec<Setting>, String> {
    let setting = |file, weight| Setting { file, value: format!("default {weight}"), may_be_missing: false };
    let cost = group.ancestors().any(|above| {
        let text = std::fs::read_to_string(above.join("io.cost.qos")).unwrap_or_default();
        text.split_whitespace().any(|field| field == "enable=1")
    });
    if cost {
        Ok(vec![setting("io.weight", weight.unwrap_or(EVEN))])
    } else if group.join(BFQ).exists() {
        Ok(vec![setting(BFQ, weight.map_or(EVEN, of_bfq))])
    } else {
        Err("no disk here heeds weights: `io.cost.qos` is enabled for none, and there is no scheduler `bfq`"
            .to_owned())
    }
}

/// The same weight in the smaller range of `bfq`, 1 to 1000.
fn of_bfq(weight: u32) -> u32 {
    if weight <= EVEN { weight } else { EVEN + (weight - EVEN) / 11 }
}

/// The most that the kernel takes for such a limit, on any 64-bit machine (`PID_MAX_LIMIT`).
const MOST_THREADS: usize = 4 << 20;

/// A mebibyte.
const MIB: u64 = 1 << 20;

/// How many processes and threads there may be for so many processes of commands.
fn threads(processes: usize) -> usize {
    processes.saturating_mul(THREADS_OF_PROCESS).saturating_add(THREADS_OF_DAEMON).min(MOST_THREADS)
}

/// How much may be held at all where this much is allowed.
fn ceiling(most: u64) -> u64 {
    most.saturating_add(most / MARGIN)
}

/// One file of a group, and what is written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) file: &'static str,
    pub(super) value: String,
    pub(super) may_be_missing: bool,
}

impl Setting {
    /// Whether it can be written while a group holds so much memory, and nothing is ended for it. What is not known may be anything.
    fn is_harmless(&self, held: Option<u64>) -> bool {
        let ceiling: Option<u64> = self.value.parse().ok().filter(|_| self.file == CEILING);
        ceiling.is_none_or(|ceiling| held.is_some_and(|held| held < ceiling))
    }
}

/// Who holds one limit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holds {
    Kernel,
    /// The kernel, but for a setting that is tried again at each look.
    Partly(Setting),
    /// Not the kernel, for this reason.
    Other(String),
}

/// What holds the limits of one daemon: the kernel, or why it does not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    /// Of the limits that there are alone.
    held: BTreeMap<Controller, Holds>,
    /// What the group had told when it was last looked at.
    seen: Events,
    /// How often it had been slowed down then.
    slowed: u64,
}

impl Limits {
    /// Those of a daemon without a group, for this reason.
    pub(crate) fn none(resource_limits: ResourceLimits, why: &str) -> Self {
        let held = Controller::asked(resource_limits).map(|it| (it, Holds::Other(why.to_owned())));
        Self { held: held.collect(), ..Self::default() }
    }

    /// Sets those of a group, as its own files let them be set, and takes back those that there are not any more. Where they do not,
    /// `groups` may know why.
    pub(crate) fn set(resource_limits: ResourceLimits, group: &Group, groups: Option<&Groups>) -> Self {
        let why =
            |controller, why| groups.and_then(|groups| groups.refused(controller)).map_or(why, str::to_owned);
        let asked: Vec<_> = Controller::asked(resource_limits).collect();
        // What is told of a limit that is made smaller is told of this one.
        let (seen, slowed) = (group.events(), group.slowed());
        let set = |controller: Controller| match controller.settings(resource_limits, group.path()) {
            Ok(settings) => set(&settings, group),
            Err(error) => Holds::Other(error),
        };
        let held = Controller::ALL.map(|it| match set(it) {
            Holds::Other(error) => (it, Holds::Other(why(it, error))),
            holds => (it, holds),
        });
        let held = held.into_iter().filter(|(controller, _)| asked.contains(controller)).collect();
        Self { held, seen, slowed }
    }

    /// Whether memory that cannot be given back has come up to the limit, behind which the kernel slowed somebody down since this was last asked.
    pub(crate) fn is_slowed(&mut self, resource_limits: ResourceLimits, group: &Group) -> Option<Excess> {
        let before = std::mem::replace(&mut self.slowed, group.slowed());
        let most =
            resource_limits.memory_mb.filter(|_| self.slowed > before && self.act(Controller::Memory))?;
        let kept = group.kept_memory()? >> 20;
        (kept >= most - most / THRASHED).then_some(Excess::Slowed { kept, most })
    }

    /// Which limit the kernel held since this was last asked.
    pub(crate) fn exceeded(&mut self, resource_limits: ResourceLimits, group: &Group) -> Option<Excess> {
        let ceiling = group.ceiling().map(|ceiling| ceiling >> 20);
        self.look(resource_limits, group);
        let (before, now) = (self.seen, group.events());
        let ended = now.kills > before.kills;
        // A want is kept in mind until the end that it leads to.
        let wants = if ended { now.wants } else { before.wants };
        self.seen = Events { wants, ..now };
        if ended && now.wants > before.wants && self.act(Controller::Memory) {
            return resource_limits
                .memory_mb
                .zip(ceiling)
                .map(|(most, ceiling)| Excess::Ended { ceiling, most });
        }
        let refused = now.refused > before.refused && self.act(Controller::Pids);
        resource_limits.processes.filter(|_| refused).map(|most| Excess::Threads { most: threads(most) })
    }

    /// Looks whether what was set still acts, since who gave a controller can take it away, and sets what could not be yet.
    fn look(&mut self, resource_limits: ResourceLimits, group: &Group) {
        for (controller, holds) in &mut self.held {
            if matches!(holds, Holds::Other(_)) {
                continue;
            }
            let offered = controller
                .settings(resource_limits, group.path())
                .and_then(|settings| settings.iter().try_for_each(|setting| group.offers(setting)));
            match (offered, &*holds) {
                (Err(why), _) => *holds = Holds::Other(why),
                (Ok(()), Holds::Partly(left)) => *holds = set(std::slice::from_ref(left), group),
                (Ok(()), _) => {}
            }
        }
    }

    /// One line for a person, if there is any limit.
    pub(crate) fn words(&self) -> Option<String> {
        let word = |(controller, holds): (&Controller, &Holds)| match holds {
            Holds::Kernel if *controller == Controller::Pids => {
                format!("{} is counted, and the kernel holds a ceiling over it", controller.key())
            }
            Holds::Kernel => format!("{} is held by the kernel", controller.key()),
            Holds::Partly(left) => {
                format!(
                    "{} is held by the kernel in part: {} is lowered once less is held",
                    controller.key(),
                    left.file
                )
            }
            Holds::Other(why) if controller.is_counted_without() => {
                format!("{} is counted: {why}", controller.key())
            }
            Holds::Other(why) => format!("nothing holds {}: {why}", controller.key()),
        };
        let words: Vec<_> = self.held.iter().map(word).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// Whether what the kernel does for a limit is this limit's doing.
    fn act(&self, controller: Controller) -> bool {
        self.held.get(&controller).is_some_and(|holds| !matches!(holds, Holds::Other(_)))
    }
}

/// Writes settings, those that nothing is ended for. A ceiling below what is held would have the kernel end who holds most, which may be
/// the daemon: it is left as it was until less is held, which the limit below it brings about.
fn set(settings: &[Setting], group: &Group) -> Holds {
    let mut left = None;
    for setting in settings {
        if !setting.is_harmless(group.held_memory()) {
            left = Some(setting.clone());
        } else if let Err(why) = group.set(setting) {
            return Holds::Other(why);
        }
    }
    left.map_or(Holds::Kernel, Holds::Partly)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_is_lowered_only_where_less_is_held_and_all_else_at_once() {
        let setting = |file, value: &str| Setting { file, value: value.to_owned(), may_be_missing: false };
        for (file, value, held, harmless) in [
            (CEILING, "100", Some(99), true),
            (CEILING, "100", Some(0), true),
            (CEILING, "100", Some(100), false),
            (CEILING, "100", Some(101), false),
            (CEILING, "100", None, false),
            (CEILING, "max", Some(u64::MAX), true),
            (CEILING, "max", None, true),
            ("memory.high", "100", Some(101), true),
            ("memory.swap.max", "0", Some(101), true),
            ("pids.max", "100", None, true),
        ] {
            assert_eq!(setting(file, value).is_harmless(held), harmless, "{file}, {value}, {held:?}");
        }
    }
}
