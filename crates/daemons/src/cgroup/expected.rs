//! Which limits a group holds or would hold, looked at from outside.

use super::group::Group;
use super::plan::Plan;
use super::{Controller, is_enabled, is_shared, plan_of, shared, stays};
use crate::allowance::Allowance;

/// The group of a daemon, as it is or as it would be.
pub(crate) enum Expected {
    /// One that runs.
    Made(Group),
    /// One that would be started by a host.
    Planned {
        plan: Plan,
        /// The process of the host.
        host: u32,
        /// Whether such a host would leave that group for a leaf.
        leaves: bool,
    },
    None(String),
}

impl Expected {
    /// That of a daemon with this process.
    pub(crate) fn of_daemon(group: Option<Group>, process: u32) -> Self {
        match group {
            None => Self::None("its daemon was started without a cgroup".to_owned()),
            Some(group) if group.holds(process) => Self::Made(group),
            Some(group) => Self::None(group.is_left()),
        }
    }

    /// That of a daemon which a host with this process would start, or else one that was started where this process is.
    pub(crate) fn of_host(host: Option<u32>, leaves: bool) -> Self {
        let process = host.unwrap_or_else(std::process::id);
        let planned = |plan| Self::Planned { plan, host: process, leaves };
        plan_of(host).map_or_else(|why| Self::None(why.to_string()), planned)
    }

    /// Why a limit of `allowance` is not held by it, if it is not.
    pub(crate) fn holds(&self, controller: Controller, allowance: Allowance) -> Result<(), String> {
        match self {
            Self::Made(group) => {
                let settings = controller.settings(allowance, group.path())?;
                settings.iter().try_for_each(|setting| group.has(setting))
            }
            Self::Planned { plan, host, leaves } => {
                can_enable(plan, (*host, *leaves), controller)?;
                controller.settings(allowance, &plan.base).map(drop)
            }
            Self::None(why) => Err(why.clone()),
        }
    }
}

/// Whether groups could have a controller, with no process but the host's in the way.
fn can_enable(plan: &Plan, (host, leaves): (u32, bool), controller: Controller) -> Result<(), String> {
    let base = &plan.base;
    if is_enabled(base, controller.name())? {
        return Ok(());
    }
    if plan.leaves && !leaves {
        return Err(stays(base));
    }
    if is_shared(base, Some(host)) { Err(shared(base)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_is_expected_only_where_it_could_be_enabled() {
        let own = format!("{}\n", std::process::id());
        let others = format!("{own}1\n");
        for (enabled, controllers, processes, (in_base, leaves), expected) in [
            ("memory", "memory", others.as_str(), (false, true), None),
            ("", "memory", "", (false, true), None),
            ("", "memory", own.as_str(), (true, true), None),
            ("", "memory", own.as_str(), (true, false), Some("DelegateSubgroup=host")),
            ("", "memory", others.as_str(), (true, true), Some("there are other processes in")),
            ("", "memory", "0\n", (false, true), Some("there are other processes in")),
            ("", "cpu", "", (false, true), Some("has no controller `memory`")),
        ] {
            let base = tempfile::tempdir().unwrap();
            for (file, text) in [
                ("cgroup.subtree_control", enabled),
                ("cgroup.controllers", controllers),
                ("cgroup.procs", processes),
                ("cgroup.type", "domain\n"),
            ] {
                std::fs::write(base.path().join(file), text).unwrap();
            }
            let plan = Plan { base: base.path().to_owned(), leaves: in_base };
            let allowance = Allowance { memory_mb: Some(2048), ..Allowance::default() };
            let host = std::process::id();
            let held = Expected::Planned { plan, host, leaves }.holds(Controller::Memory, allowance);
            match expected {
                None => assert_eq!(held, Ok(()), "{enabled:?} of {controllers} beside {processes:?}"),
                Some(why) => assert!(held.as_ref().unwrap_err().contains(why), "{held:?}"),
            }
        }
    }

    #[test]
    fn a_daemon_that_is_not_in_its_group_is_not_held_by_it() {
        let directory = tempfile::tempdir().unwrap();
        for (file, bytes) in [("memory.high", "2147483648\n"), ("memory.max", "2684354560\n")] {
            std::fs::write(directory.path().join(file), bytes).unwrap();
        }
        let allowance = Allowance { memory_mb: Some(2048), ..Allowance::default() };
        for (listed, is_held) in [("4711\n", true), ("4712\n", false), ("0\n", false), ("", false)] {
            std::fs::write(directory.path().join("cgroup.procs"), listed).unwrap();
            let expected = Expected::of_daemon(Some(Group::at(directory.path().to_owned())), 4711);
            let held = expected.holds(Controller::Memory, allowance);
            assert_eq!(held.is_ok(), is_held, "{listed:?}: {held:?}");
        }
    }
}
