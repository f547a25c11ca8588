//! Which limits a group holds or would hold, looked at from outside.

use super::group::Group;
use super::plan::{Plan, Reason};
use super::{Controller, is_enabled, is_shared, plan_of, shared, stays};
use crate::resource_limits::ResourceLimits;

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
    /// What it is cannot be seen.
    Unseen(String),
}

/// Why a limit is not known to be held by a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unheld {
    /// It is not.
    For(String),
    /// It cannot be seen.
    Unseen(String),
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
        match plan_of(host) {
            Ok(plan) => planned(plan),
            Err(why @ Reason::Unseen(_)) => Self::Unseen(why.to_string()),
            Err(why) => Self::None(why.to_string()),
        }
    }

    /// Why a limit of `resource_limits` is not held by it, if it is not.
    pub(crate) fn holds(
        &self,
        controller: Controller,
        resource_limits: ResourceLimits,
    ) -> Result<(), Unheld> {
        match self {
            Self::Made(group) => {
                let settings = controller.settings(resource_limits, group.path()).map_err(Unheld::For)?;
                settings.iter().try_for_each(|setting| group.has(setting))
            }
            Self::Planned { plan, host, leaves } => can_enable(plan, (*host, *leaves), controller)
                .and_then(|()| controller.settings(resource_limits, &plan.base).map(drop))
                .map_err(Unheld::For),
            Self::None(why) => Err(Unheld::For(why.clone())),
            Self::Unseen(why) => Err(Unheld::Unseen(why.clone())),
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
            let resource_limits = ResourceLimits { memory_mb: Some(2048), ..ResourceLimits::default() };
            let host = std::process::id();
            let held = Expected::Planned { plan, host, leaves }.holds(Controller::Memory, resource_limits);
            match expected {
                None => assert_eq!(held, Ok(()), "{enabled:?} of {controllers} beside {processes:?}"),
                Some(why) => {
                    assert!(matches!(&held, Err(Unheld::For(told)) if told.contains(why)), "{held:?}");
                }
            }
        }
    }

    #[test]
    fn a_daemon_that_is_not_in_its_group_is_not_held_by_it() {
        let directory = tempfile::tempdir().unwrap();
        for (file, bytes) in [("memory.high", "2147483648\n"), ("memory.max", "2684354560\n")] {
            std::fs::write(directory.path().join(file), bytes).unwrap();
        }
        let resource_limits = ResourceLimits { memory_mb: Some(2048), ..ResourceLimits::default() };
        for (listed, is_held) in [("4711\n", true), ("4712\n", false), ("0\n", false), ("", false)] {
            std::fs::write(directory.path().join("cgroup.procs"), listed).unwrap();
            let expected = Expected::of_daemon(Some(Group::at(directory.path().to_owned())), 4711);
            let held = expected.holds(Controller::Memory, resource_limits);
            assert_eq!(held.is_ok(), is_held, "{listed:?}: {held:?}");
        }
    }

    #[test]
    fn a_setting_that_cannot_be_read_is_not_seen_and_one_that_is_not_there_is_not_held() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        std::fs::write(file("cgroup.procs"), "4711\n").unwrap();
        let resource_limits = ResourceLimits { cpu_percent: Some(100), ..ResourceLimits::default() };
        let holds = || {
            let expected = Expected::of_daemon(Some(Group::at(directory.path().to_owned())), 4711);
            expected.holds(Controller::Cpu, resource_limits)
        };
        assert!(matches!(holds(), Err(Unheld::For(_))));
        std::fs::create_dir(file("cpu.max")).unwrap();
        assert!(matches!(holds(), Err(Unheld::Unseen(_))));
        std::fs::remove_dir(file("cpu.max")).unwrap();
        std::fs::write(file("cpu.max"), "max 100000\n").unwrap();
        assert!(matches!(holds(), Err(Unheld::For(_))));
        std::fs::write(file("cpu.max"), "100000 100000\n").unwrap();
        assert_eq!(holds(), Ok(()));
    }
}
