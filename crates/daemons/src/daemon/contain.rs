//! The group that a daemon is started in, where there is one to be had, and what holds its limits.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Daemon, Spec};
use crate::cgroup::{self, Group, Groups, Limits};
use crate::record::Record;
use crate::resource_limits::ResourceLimits;

/// That a daemon is to have a group, and what it may hold.
#[derive(Debug, Clone)]
pub(crate) struct Contained {
    /// The binary that enters the group and becomes the daemon; usually our own. Without one there is no group.
    pub(crate) launcher: Option<PathBuf>,
    pub(crate) resource_limits: ResourceLimits,
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

    /// Has no group, for this reason; one that is made is empty yet.
    pub(super) fn give_up(&mut self, why: String) {
        self.group().into_iter().for_each(Group::remove);
        self.group = Err(why);
    }

    /// A command that runs `program` in the group, which is looked for there and on this path. What cannot be started is to fail as it does
    /// without a group, and has none.
    pub(super) fn command(
        &mut self,
        spec: &Spec,
        program: &Path,
        (directory, path): (&Path, &OsStr),
    ) -> Command {
        let found = which::which_in(program, Some(path), directory).is_ok();
        let launcher = launcher(spec).filter(|_| found);
        if let (Some(group), Some(launcher)) = (self.group(), launcher) {
            #[expect(clippy::disallowed_methods, reason = "this is the place that starts daemons")]
            let mut command = Command::new(launcher);
            command.arg(cgroup::ENTER).arg(group.path()).arg(program);
            return command;
        }
        if self.group.is_ok() {
            self.give_up(format!("{} or its launcher cannot be started", program.display()));
        }
        #[expect(clippy::disallowed_methods, reason = "this is the place that starts daemons")]
        Command::new(program)
    }

    pub(super) fn into_parts(self) -> (Option<Group>, Limits) {
        (self.group.ok(), self.limits)
    }
}

/// The launcher, if it can be started: a binary that was replaced while it runs may be gone.
fn launcher(spec: &Spec) -> Option<&Path> {
    let launcher = spec.contained.as_ref()?.launcher.as_deref()?;
    which::which_in(launcher, None::<&OsStr>, "/").is_ok().then_some(launcher)
}

/// Where a daemon can have its group, or why nowhere.
fn groups(spec: &Spec) -> Result<Groups, String> {
    let contained = spec.contained.as_ref().ok_or("none is asked for")?;
    launcher(spec).ok_or("this host has no launcher, or it cannot be started")?;
    Groups::of_this_process(contained.resource_limits).map_err(|why| why.to_string())
}

/// What holds the limits of a daemon that an earlier host left: as they are asked for now. A smaller one is written where the kernel
/// may take its time to find the memory.
pub(super) async fn limits_of_found(spec: &Spec, record: &Record) -> Limits {
    let resource_limits = resource_limits(spec);
    let (group, process) = (record.group(), record.process.as_ref().map(|process| process.pid));
    let set = move || match (group, process) {
        (Some(group), Some(process)) if group.holds(process) => {
            Limits::set(resource_limits, &group, Groups::of_this_process(resource_limits).ok().as_ref())
        }
        (Some(group), _) => Limits::none(resource_limits, &group.is_left()),
        (None, _) => Limits::none(resource_limits, "an earlier host started this daemon, without a group"),
    };
    let set = tokio::task::spawn_blocking(set).await;
    set.unwrap_or_else(|error| Limits::none(resource_limits, &error.to_string()))
}

fn resource_limits(spec: &Spec) -> ResourceLimits {
    spec.contained.as_ref().map(|contained| contained.resource_limits).unwrap_or_default()
}

fn limits(spec: &Spec, group: Result<&Group, &str>, groups: Option<&Groups>) -> Limits {
    let resource_limits = resource_limits(spec);
    match group {
        Ok(group) => Limits::set(resource_limits, group, groups),
        Err(why) => Limits::none(resource_limits, why),
    }
}

/// Looks whether a daemon is in its group. One that could not enter it goes on without: its launcher printed why, and what it has started
/// by now would stay outside. Only an empty one is given up for that: one whose processes cannot be seen is ended with the daemon all the
/// same.
pub(super) fn prove(daemon: &mut Daemon, spec: &Spec) {
    let (Some(group), Some(pid)) = (&daemon.family.group, daemon.pid()) else { return };
    if group.holds(pid) {
        return;
    }
    daemon.limits = limits(spec, Err(&group.is_left()), None);
    if group.is_empty() {
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
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::environment::Environment;

    /// One that has a group, whether one can be made here or not.
    fn place(root: &Path) -> Place {
        let group = Ok(Group::at(root.join("daemon-mark")));
        Place { group, groups: None, limits: Limits::default() }
    }

    /// What cannot be started, each for a reason of its own, and what can.
    fn programs(root: &Path) -> [(&'static str, PathBuf, bool); 4] {
        let [gone, closed, directory, open] =
            ["gone", "closed", "directory", "open"].map(|name| root.join(name));
        std::fs::create_dir(&directory).unwrap();
        for (file, mode) in [(&closed, 0o600), (&open, 0o700)] {
            std::fs::write(file, "").unwrap();
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        [
            ("gone", gone, false),
            ("closed", closed, false),
            ("directory", directory, false),
            ("open", open, true),
        ]
    }

    #[test]
    fn a_launcher_that_cannot_be_started_costs_the_group_and_never_the_daemon() {
        let root = tempfile::tempdir().unwrap();
        let mut spec = Spec::new("/bin/sh", root.path(), Environment::of_this_process());
        let resource_limits = ResourceLimits { memory_mb: Some(2048), ..ResourceLimits::default() };
        let launchers = programs(root.path()).into_iter().map(|(_, launcher, can)| (Some(launcher), can));
        for (launcher, can) in launchers.chain([(None, false)]) {
            spec.contained = Some(Contained { launcher: launcher.clone(), resource_limits });
            let searched = (root.path(), OsStr::new(""));
            let mut had = place(root.path());
            let command = had.command(&spec, Path::new("/bin/sh"), searched);
            assert_eq!(command.get_program() != "/bin/sh", can, "{launcher:?}");
            assert_eq!(had.group().is_some(), can, "{launcher:?}");
            if can {
                continue;
            }
            let mut place = Place::of(&spec, "mark");
            assert_eq!(place.command(&spec, Path::new("/bin/sh"), searched).get_program(), "/bin/sh");
            place.make(&spec);
            let (group, limits) = place.into_parts();
            assert_eq!(group, None);
            let why = "memory_mb is counted: this host has no launcher, or it cannot be started";
            assert_eq!(limits.words().unwrap(), why);
        }
    }

    #[test]
    fn a_program_that_cannot_be_started_is_the_systems_to_refuse_and_has_no_group() {
        let root = tempfile::tempdir().unwrap();
        let mut spec = Spec::new("opencode", root.path(), Environment::of_this_process());
        let launcher = Some(PathBuf::from("/bin/sh"));
        spec.contained = Some(Contained { launcher, resource_limits: ResourceLimits::default() });
        for (name, program, can) in programs(root.path()) {
            // By its path, by one from the directory of the daemon, and by its name on the daemon's path.
            let relative = Path::new(".").join(name);
            for (program, path) in [
                (program, Path::new("/nowhere")),
                (relative, Path::new("/nowhere")),
                (name.into(), root.path()),
            ] {
                let mut place = place(root.path());
                let command = place.command(&spec, &program, (root.path(), path.as_os_str()));
                let started = if can { Path::new("/bin/sh") } else { &program };
                assert_eq!(command.get_program(), started, "{}", program.display());
                assert_eq!(place.group().is_some(), can, "{}", program.display());
            }
        }
    }
}
