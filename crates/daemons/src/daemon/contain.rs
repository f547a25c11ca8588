//! The group that a daemon is started in, where there is one to be had, and what holds its limits.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Daemon, Spec};
use crate::allowance::Allowance;
use crate::cgroup::{self, Group, Groups, Limits};
use crate::record::Record;

/// That a daemon is to have a group, and what it may hold.
#[derive(Debug, Clone)]
pub(crate) struct Contained {
    /// The binary that enters the group and becomes the daemon; usually our own. Without one there is no group.
    pub(crate) launcher: Option<PathBuf>,
    pub(crate) allowance: Allowance,
}

/// The group of a daemon that is about to start, or why it has none.
pub(super) struct Place {
    group: Result<Group, String>,
    limits: Limits,
}

impl Place {
    /// That of a daemon with this mark. Nothing is made yet.
    pub(super) fn of(spec: &Spec, mark: &str) -> Self {
        let group = match spec.contained.as_ref().map(|contained| &contained.launcher) {
            Some(Some(_)) => {
                Groups::of_this_process().map(|groups| groups.group(mark)).map_err(ToString::to_string)
            }
            Some(None) => Err("this host has no launcher".to_owned()),
            None => Err("none is asked for".to_owned()),
        };
        Self { group, limits: Limits::default() }
    }

    pub(super) fn group(&self) -> Option<&Group> {
        self.group.as_ref().ok()
    }

    /// Makes the group, and sets what its processes may hold.
    pub(super) fn make(&mut self, spec: &Spec) {
        if let Ok(group) = &self.group
            && let Err(error) = group.make()
        {
            self.group = Err(format!("{} cannot be made: {error}", group.path().display()));
        }
        self.limits = limits(spec, self.group.as_ref().map_err(String::as_str));
    }

    /// A command that runs `program` in the group.
    pub(super) fn command(&self, spec: &Spec, program: impl AsRef<OsStr>) -> Command {
        let launcher = spec.contained.as_ref().and_then(|contained| contained.launcher.as_ref());
        #[expect(clippy::disallowed_methods, reason = "this is the place that starts daemons")]
        match (self.group(), launcher) {
            (Some(group), Some(launcher)) => {
                let mut command = Command::new(launcher);
                command.arg(cgroup::ENTER).arg(group.path()).arg(program);
                command
            }
            _ => Command::new(program),
        }
    }

    pub(super) fn into_parts(self) -> (Option<Group>, Limits) {
        (self.group.ok(), self.limits)
    }
}

/// What holds the limits of a daemon that an earlier host left: as they are asked for now.
pub(super) fn limits_of_found(spec: &Spec, record: &Record) -> Limits {
    limits(spec, record.group.as_ref().ok_or("an earlier host started this daemon, without a group"))
}

fn limits(spec: &Spec, group: Result<&Group, &str>) -> Limits {
    let allowance = spec.contained.as_ref().map(|contained| contained.allowance).unwrap_or_default();
    match group {
        Ok(group) => Limits::set(allowance, group, Groups::of_this_process().ok()),
        Err(why) => Limits::none(allowance, why),
    }
}

/// Looks whether a daemon is in its group. One that could not enter it goes on without.
pub(super) fn prove(daemon: &mut Daemon, spec: &Spec) {
    let (Some(group), Some(pid)) = (&daemon.family.group, daemon.pid()) else { return };
    if group.processes().contains(&pid) {
        return;
    }
    if let Err(error) = group.enter(pid) {
        daemon.limits =
            limits(spec, Err(&format!("the daemon cannot enter {}: {error}", group.path().display())));
        group.remove();
        daemon.family.group = None;
    }
}

impl Daemon {
    /// What holds its limits, for its owner.
    pub(crate) fn limits(&self) -> Option<String> {
        self.limits.words()
    }

    /// The directory of its group, if it has one.
    pub fn group(&self) -> Option<&Path> {
        self.family.group.as_ref().map(Group::path)
    }
}
