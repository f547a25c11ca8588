//! The group that a daemon is started in, where there is one to be had, and what holds its limits.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Daemon, Spec};
use crate::allowance::Allowance;
use crate::cgroup::{self, Group, Groups, Limits};
use crate::record::Record;

/// Why there is no group within walls of Landlock alone, which keep nobody from modes and attributes.
pub(crate) const WITHIN_REACH: &str =
    "without namespaces an agent can change the modes of its cgroup's files, so it has none";

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
    groups: Option<Groups>,
    limits: Limits,
}

impl Place {
    /// That of a daemon with this mark. Nothing is made yet.
    pub(super) fn of(spec: &Spec, mark: &str) -> Self {
        let groups = groups(spec);
        let group = groups.as_ref().map(|groups| groups.group(mark)).map_err(Clone::clone);
        Self { group, groups: groups.ok(), limits: Limits::default() }
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
        self.limits = limits(spec, self.group.as_ref().map_err(String::as_str), self.groups.as_ref());
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

/// Where a daemon can have its group, or why nowhere.
fn groups(spec: &Spec) -> Result<Groups, String> {
    let contained = spec.contained.as_ref().ok_or("none is asked for")?;
    contained.launcher.as_ref().ok_or("this host has no launcher")?;
    if spec.confinement.as_ref().is_some_and(|confinement| !confinement.is_namespaced()) {
        return Err(WITHIN_REACH.to_owned());
    }
    Groups::of_this_process().map_err(|why| why.to_string())
}

/// What holds the limits of a daemon that an earlier host left: as they are asked for now.
pub(super) fn limits_of_found(spec: &Spec, record: &Record) -> Limits {
    let group = record.group().ok_or("an earlier host started this daemon, without a group");
    let process = record.process.as_ref().map(|process| process.pid);
    match &group {
        Ok(group) if !process.is_some_and(|process| group.holds(process)) => {
            limits(spec, Err(&group.is_left()), None)
        }
        group => limits(spec, group.as_ref().map_err(|why| *why), None),
    }
}

fn limits(spec: &Spec, group: Result<&Group, &str>, groups: Option<&Groups>) -> Limits {
    let allowance = spec.contained.as_ref().map(|contained| contained.allowance).unwrap_or_default();
    match group {
        Ok(group) => Limits::set(allowance, group, groups),
        Err(why) => Limits::none(allowance, why),
    }
}

/// Looks whether a daemon is in its group. One that could not enter it goes on without.
pub(super) fn prove(daemon: &mut Daemon, spec: &Spec) {
    let (Some(group), Some(pid)) = (&daemon.family.group, daemon.pid()) else { return };
    if group.holds(pid) {
        return;
    }
    if let Err(error) = group.enter(pid) {
        daemon.limits =
            limits(spec, Err(&format!("the daemon cannot enter {}: {error}", group.path().display())), None);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confine::Confinement;
    use crate::environment::Environment;

    #[test]
    fn a_daemon_within_walls_that_have_no_namespaces_gets_no_group() {
        let root = tempfile::tempdir().unwrap();
        let mut spec = Spec::new("opencode", root.path(), Environment::of_this_process());
        let allowance = Allowance { memory_mb: Some(2048), ..Allowance::default() };
        spec.contained = Some(Contained { launcher: Some("launcher".into()), allowance });
        // One that is not there gets nobody any.
        spec.confinement = Some(Confinement::around(&spec, "/gone/launcher", root.path().join("tmp")));
        let mut place = Place::of(&spec, "mark");
        place.make(&spec);
        let (group, limits) = place.into_parts();
        assert_eq!(group, None);
        assert_eq!(limits.words().unwrap(), format!("memory_mb is counted: {WITHIN_REACH}"));
    }
}
