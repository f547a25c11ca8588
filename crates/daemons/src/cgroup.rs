//! Groups of processes that the kernel keeps together (cgroup v2): one for each daemon, where one was delegated to this
//! host.
//!
//! What is started in a group stays in it, whatever it does with its parents, sessions and environment, unless it may write the groups of
//! its user, which walls deny. So a daemon and all that its agent starts are found by it, are ended by it, and hold no more together than it says. Whether
//! there is a place for groups is [planned](plan) from what the kernel says of this process; the host itself is in a
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
use std::sync::atomic::{AtomicBool, Ordering};

use crate::resource_limits::ResourceLimits;
pub(crate) use enter::{ENTER, relaunch};
pub(crate) use expected::{Expected, Unheld};
pub(crate) use group::{Events, Group};
pub(crate) use limits::{Controller, Limits};
pub(crate) use plan::unescaped;
use plan::{Facts, LEAF, Plan, Reason, Standing};

/// The place for the groups of this host's daemons.
#[derive(Debug)]
pub(crate) struct Groups {
    base: PathBuf,
    /// The controllers that groups have, and why they have not the others.
    controllers: BTreeMap<Controller, Result<(), String>>,
}

/// Whether this process leaves its group for a leaf below it.
static LEAVES: AtomicBool = AtomicBool::new(false);

/// Lets this process leave the cgroup that is delegated to it for a leaf in it, now and again before each daemon that it starts: a
/// group whose children have controllers has no processes of its own. For a host that is the process which was started there, and whose daemons
/// end with it: while they go on nothing else can be started in that group. What was not told so stays where it is.
pub fn leave_for_leaf() {
    LEAVES.store(true, Ordering::Relaxed);
    if let Err(why) = Groups::of_this_process(ResourceLimits::default()) {
        tracing::debug!(%why, "daemons have no cgroups");
    }
}

impl Groups {
    /// Those of this process, as they are now, with the controllers that these limits need.
    pub(crate) fn of_this_process(resource_limits: ResourceLimits) -> Result<Self, Reason> {
        let leaves = LEAVES.load(Ordering::Relaxed).then(std::process::id);
        Ok(Self::take(&plan_of(None)?, leaves, Controller::needed(resource_limits)))
    }

    /// Makes the place for a host; `leaves` is its process where it may be moved.
    fn take(plan: &Plan, leaves: Option<u32>, wanted: impl IntoIterator<Item = Controller>) -> Self {
        let moved = match leaves {
            _ if !plan.leaves => Ok(()),
            None => Err(stays(&plan.base)),
            Some(host) => move_to_leaf(&plan.base, host).map_err(|error| {
                format!("the host cannot move to {LEAF} in {}: {error}", plan.base.display())
            }),
        };
        let enable = |controller: Controller| {
            let enabled = moved.clone().and_then(|()| enable(&plan.base, controller.name()));
            (controller, enabled)
        };
        Self { controllers: wanted.into_iter().map(enable).collect(), base: plan.base.clone() }
    }

    /// The group of the daemon with this mark. It is not made yet.
    pub(crate) fn group(&self, mark: &str) -> Group {
        Group::at(self.base.join(group::name_of(mark)))
    }

    /// Why groups have no such controller, if they have none.
    pub(crate) fn refused(&self, controller: Controller) -> Option<&str> {
        self.controllers.get(&controller).and_then(|enabled| enabled.as_ref().err()).map(String::as_str)
    }
}

/// The plan for a host with this process, or for this one.
fn plan_of(host: Option<u32>) -> Result<Plan, Reason> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let own = format!("/proc/{}/cgroup", host.unwrap_or_else(std::process::id));
    // That a host's cannot be read says nothing of where it is.
    let own = match std::fs::read_to_string(&own) {
        Err(error) if host.is_some() => return Err(Reason::Unseen(format!("{own}: {error}"))),
        read => read.unwrap_or_default(),
    };
    let first = read("/proc/1/cgroup");
    plan::plan(Standing { own: &own, first: &first }, &read("/proc/self/mountinfo"), Facts::of)
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

/// Whether the groups in `base` have a controller; why they cannot, when there is none.
fn is_enabled(base: &Path, controller: &str) -> Result<bool, String> {
    if listed(base, "cgroup.subtree_control", controller) {
        return Ok(true);
    }
    if !listed(base, "cgroup.controllers", controller) {
        return Err(format!("{} has no controller `{controller}`", base.display()));
    }
    Ok(false)
}

/// Lets the groups in `base` have a controller; why not, when they cannot.
fn enable(base: &Path, controller: &str) -> Result<(), String> {
    if is_enabled(base, controller)? {
        return Ok(());
    }
    // Some can be enabled all the same, and then no group in `base` can be entered.
    if is_shared(base, None) {
        return Err(shared(base));
    }
    let enabled = group::write(&base.join("cgroup.subtree_control"), &format!("+{controller}"));
    enabled.map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => shared(base),
        _ => format!("{} gives the controller `{controller}` to nobody: {error}", base.display()),
    })
}

/// Whether other processes than the host's are in `base`. The group of the whole machine, which alone has no type, may have some.
fn is_shared(base: &Path, host: Option<u32>) -> bool {
    let text = std::fs::read_to_string(base.join("cgroup.procs")).unwrap_or_default();
    let host = host.map(|host| host.to_string());
    let others = text.lines().any(|process| host.as_deref() != Some(process));
    others && base.join("cgroup.type").exists()
}

fn shared(base: &Path) -> String {
    format!("there are other processes in {}: only the host may be started there", base.display())
}

fn stays(base: &Path) -> String {
    format!(
        "the host is in {} itself, which it leaves only when its daemons end with it (`on_exit = \"stop\"`): let it be \
         started in a group below, as `DelegateSubgroup={LEAF}` does",
        base.display()
    )
}

#[cfg(test)]
mod tests;
