//! Which limits a group holds or would hold, looked at from outside.

use super::group::Group;
use super::plan::Plan;
use super::{Controller, listed, missing, plan_of};
use crate::allowance::Allowance;

/// The group of a daemon, as it is or as it would be.
pub(crate) enum Expected {
    /// One that runs.
    Made(Group),
    /// One that would be started by a host that is started where this process is.
    Planned(Plan),
    None(String),
}

impl Expected {
    pub(crate) fn of_daemon(group: Option<Group>) -> Self {
        group.map_or_else(|| Self::None("its daemon was started without a cgroup".to_owned()), Self::Made)
    }

    pub(crate) fn of_this_process() -> Self {
        plan_of("self").map_or_else(|why| Self::None(why.to_string()), Self::Planned)
    }

    /// Why a limit of `allowance` is not held by it, if it is not.
    pub(crate) fn holds(&self, controller: Controller, allowance: Allowance) -> Result<(), String> {
        match self {
            Self::Made(group) => {
                controller.settings(allowance).iter().try_for_each(|setting| group.has(setting))
            }
            Self::Planned(plan) if listed(&plan.base, "cgroup.controllers", controller.name()) => Ok(()),
            Self::Planned(plan) => Err(missing(&plan.base, controller.name())),
            Self::None(why) => Err(why.clone()),
        }
    }
}
