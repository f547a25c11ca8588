//! Groups of processes that the kernel keeps together (cgroup v2): one for each daemon, where one was delegated to this
//! host.
//!
//! What is started in a group stays in it, whatever it does with its parents, sessions and environment. So a daemon
//! and all that its agent starts are found by it, are ended at once by it, and hold no more together than it says. Whether
//! there is a place for groups is [planned](plan) from what the kernel says of this process; the host then moves itself into a
//! leaf there, since a group whose children have controllers has no processes of its own. Each controller stands by itself: a
//! limit whose controller is not to be had is counted, as all are where nothing is delegated.
//!
//! Never does: touch a group that is not delegated, or keep a daemon from starting.

mod enter;
mod expected;
mod group;
mod limits;
mod plan;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub(crate) use enter::{ENTER, relaunch};
pub(crate) use expected::Expected;
pub(crate) use group::{Events, Group};
pub(crate) use limits::{Controller, Limits};
pub(crate) use plan::unescaped;
use plan::{Facts, LEAF, Plan, Reason};

/// The place for the groups of this host's daemons.
#[derive(Debug)]
pub(crate) struct Groups {
    base: PathBuf,
    /// The controllers that groups have, and why they have not the others.
    controllers: BTreeMap<Controller, Result<(), String>>,
}

impl Groups {
    /// Those of this process, which moves to a leaf of its own at the first call.
    pub(crate) fn of_this_process() -> Result<&'static Self, &'static Reason> {
        static TAKEN: OnceLock<Result<Groups, Reason>> = OnceLock::new();
        let taken = TAKEN.get_or_init(|| {
            let plan = plan_of("self")?;
            Ok(Self::take(&plan, std::process::id(), &Controller::ALL))
        });
        taken.as_ref()
    }

    /// Makes the place for a host that is this process.
    fn take(plan: &Plan, host: u32, wanted: &[Controller]) -> Self {
        let moved = if plan.leaves { move_to_leaf(&plan.base, host) } else { Ok(()) };
        let enable = |controller: &Controller| {
            let enabled = match &moved {
                Ok(()) => enable(&plan.base, controller.name()),
                Err(error) => {
                    Err(format!("the host cannot move to {LEAF} in {}: {error}", plan.base.display()))
                }
            };
            (*controller, enabled)
        };
        Self { controllers: wanted.iter().map(enable).collect(), base: plan.base.clone() }
    }

    /// The group of the daemon with this mark. It is not made yet.
    pub(crate) fn group(&self, mark: &str) -> Group {
        Group::at(self.base.join(format!("daemon-{mark}")))
    }

    /// Why groups have no such controller, if they have none.
    pub(crate) fn refused(&self, controller: Controller) -> Option<&str> {
        self.controllers.get(&controller).and_then(|enabled| enabled.as_ref().err()).map(String::as_str)
    }
}

/// The plan for a process, by its number or as `self`.
fn plan_of(process: &str) -> Result<Plan, Reason> {
    let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
    let (cgroup, mounts) = (read(format!("/proc/{process}/cgroup")), read("/proc/self/mountinfo".to_owned()));
    plan::plan(&cgroup, &mounts, Facts::of)
}

fn move_to_leaf(base: &Path, host: u32) -> io::Result<()> {
    let leaf = base.join(LEAF);
    match std::fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    group::write(&leaf.join("cgroup.procs"), &host.to_string())
}

/// Whether one of a group's files lists a controller.
fn listed(group: &Path, file: &str, controller: &str) -> bool {
    let text = std::fs::read_to_string(group.join(file)).unwrap_or_default();
    text.split_whitespace().any(|name| name == controller)
}

/// Lets the groups in `base` have a controller; why not, when they cannot.
fn enable(base: &Path, controller: &str) -> Result<(), String> {
    if listed(base, "cgroup.subtree_control", controller) {
        return Ok(());
    }
    if !listed(base, "cgroup.controllers", controller) {
        return Err(missing(base, controller));
    }
    let enabled = group::write(&base.join("cgroup.subtree_control"), &format!("+{controller}"));
    enabled.map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => {
            format!("there are other processes in {}: only the host may be started there", base.display())
        }
        _ => format!("{} gives the controller `{controller}` to nobody: {error}", base.display()),
    })
}

fn missing(base: &Path, controller: &str) -> String {
    format!("{} has no controller `{controller}`", base.display())
}

#[cfg(test)]
mod tests;
