//! One group: made, entered, limited, ended and removed.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::expected::Unheld;
use super::limits::Setting;

/// How often it is looked whether a group is empty before giving up on it.
const ROUNDS: usize = 20_000;

/// A group of processes, by its directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Group {
    path: PathBuf,
}

/// How often the kernel held a limit, since the group was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Events {
    /// Processes in it that it ended for want of memory, its own or that of what is above.
    pub(super) kills: u64,
    /// Memory that it did not give because of the group's own limit.
    pub(super) wants: u64,
    /// Processes and threads that it did not make because of the group's own limit.
    pub(super) refused: u64,
}

impl Group {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is that of the daemon with this mark, and the kernel's.
    pub(crate) fn is_of(&self, mark: &str) -> bool {
        self.path.file_name().is_some_and(|name| name == name_of(mark).as_str())
            && rustix::fs::statfs(&self.path).is_ok_and(|found| is_cgroup2(&found))
    }

    pub(crate) fn make(&self) -> io::Result<()> {
        std::fs::create_dir(&self.path)
    }

    /// Puts a process into it. What that starts from then on is in it too.
    pub(crate) fn enter(&self, process: u32) -> io::Result<()> {
        write(&self.path.join("cgroup.procs"), &process.to_string())
    }

    /// That the daemon is not in it as far as can be seen, for people.
    pub(crate) fn is_left(&self) -> String {
        format!("the daemon is not seen in {}", self.path.display())
    }

    /// Writes one setting. That a file is not there is no error where the kernel may be without it.
    pub(super) fn set(&self, setting: &Setting) -> Result<(), String> {
        let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        match write(&self.path.join(setting.file), &setting.value) {
            Err(error) if missing(&error) && setting.may_be_missing => Ok(()),
            Err(error) => Err(format!("{} cannot be set: {error}", setting.file)),
            Ok(()) => Ok(()),
        }
    }

    /// Whether a setting can still act.
    pub(super) fn offers(&self, setting: &Setting) -> Result<(), String> {
        let file = self.path.join(setting.file);
        let there = setting.may_be_missing || file.exists();
        if there { Ok(()) } else { Err(format!("{} is not there any more", file.display())) }
    }

    /// Whether a setting is as it was written.
    pub(super) fn has(&self, setting: &Setting) -> Result<(), Unheld> {
        let file = self.path.join(setting.file);
        match std::fs::read_to_string(&file) {
            Ok(text) if text.lines().next() == Some(setting.value.as_str()) => Ok(()),
            Ok(_) => Err(Unheld::For(format!("{} is not as it is configured", file.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.offers(setting).map_err(Unheld::For)
            }
            Err(error) => Err(Unheld::Unseen(format!("{} cannot be read: {error}", file.display()))),
        }
    }

    /// The processes in it and in groups below it, as far as they have a number here: one that is ending or is in another
    /// namespace is listed as 0. An error where it holds what no daemon's can, so that nothing is taken for a member of it.
    pub(crate) fn processes(&self) -> io::Result<BTreeSet<u32>> {
        let mut found = BTreeSet::new();
        for group in self.all() {
            // One that is going has no such file, and one of threads has it in vain: its processes are listed above it.
            let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        }
        found.remove(&0);
        let strange = [1, std::process::id()].into_iter().find(|number| found.contains(number));
        match strange {
            Some(number) => Err(io::Error::other(format!("it holds process {number}, which is no daemon's"))),
            None => Ok(found),
        }
    }

    /// Whether a process is in it.
    pub(crate) fn holds(&self, process: u32) -> bool {
        self.processes().is_ok_and(|processes| processes.contains(&process))
    }

    pub(super) fn events(&self) -> Events {
        let read = |file: &str| std::fs::read_to_string(self.path.join(file)).ok();
        let count =
            |text: Option<String>, event| text.and_then(|text| counted(&text, event)).unwrap_or_default();
        // Before there was a file of the group's own events, others' limits counted: then its own has to have been reached.
        let reached = || read("pids.peak").zip(read("pids.max")).is_some_and(|(peak, max)| peak == max);
        let pids = read("pids.events.local").or_else(|| read("pids.events").filter(|_| reached()));
        // The kernel tells the want before the end: in this order no end is seen without.
        let kills = count(read("memory.events"), "oom_kill");
        let wants = read("memory.events.local").or_else(|| read("memory.events"));
        Events { kills, wants: count(wants, "oom"), refused: count(pids, "max") }
    }

    /// How often who takes memory was slowed down because of the group's own limit.
    pub(super) fn slowed(&self) -> u64 {
        let read = |file: &str| std::fs::read_to_string(self.path.join(file)).ok();
        let events = read("memory.events.local").or_else(|| read("memory.events"));
        events.and_then(|text| counted(&text, "high")).unwrap_or_default()
    }

    /// The memory that is held, copies of files too, in bytes.
    pub(super) fn held_memory(&self) -> Option<u64> {
        self.number("memory.current")
    }

    /// The memory beyond which the kernel ends who holds most, in bytes, where there is such a limit.
    pub(super) fn ceiling(&self) -> Option<u64> {
        self.number("memory.max")
    }

    fn number(&self, file: &str) -> Option<u64> {
        std::fs::read_to_string(self.path.join(file)).ok()?.trim().parse().ok()
    }

    /// The memory that is held and is no copy of what is on a disk, in bytes: nothing but an end gives it back.
    pub(super) fn kept_memory(&self) -> Option<u64> {
        let held = self.held_memory()?;
        let stat = std::fs::read_to_string(self.path.join("memory.stat")).ok()?;
        let part = |name| counted(&stat, name).unwrap_or_default();
        let given_back = part("file").saturating_sub(part("shmem")) + part("slab_reclaimable");
        Some(held.saturating_sub(given_back))
    }

    /// Gives its files their modes back, which an agent that is its owner, too, may have changed where no mount tree keeps it from
    /// them: otherwise the group could not be seen into and not be ended.
    fn give_modes_back(&self) {
        for group in self.all() {
            let of_owner =
                [("", 0o700), ("cgroup.procs", 0o600), ("cgroup.events", 0o400), ("cgroup.kill", 0o200)];
            for (file, needed) in of_owner {
                let path = group.join(file);
                let Ok(mode) = std::fs::metadata(&path).map(|it| it.permissions().mode()) else { continue };
                if mode & needed != needed {
                    let given = std::fs::set_permissions(&path, Permissions::from_mode(mode | needed));
                    tracing::warn!(file = %path.display(), ?given, "somebody took a group's modes; they are given back");
                }
            }
        }
    }

    /// Kills all in it at once, unless it holds what no daemon's can; says whether it does not.
    pub(crate) fn kill(&self) -> bool {
        self.give_modes_back();
        if let Err(error) = self.processes() {
            tracing::warn!(group = %self.path.display(), %error, "a group is not ended");
            return false;
        }
        // An older kernel has no such file; then they are killed one by one.
        if let Err(error) = write(&self.path.join("cgroup.kill"), "1")
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(group = %self.path.display(), %error, "a group cannot be ended at once");
        }
        true
    }

    /// Whether nothing runs in it. What cannot be read may hold anything.
    pub(crate) fn is_empty(&self) -> bool {
        match std::fs::read_to_string(self.path.join("cgroup.events")) {
            Ok(events) => counted(&events, "populated") == Some(0),
            Err(error) => matches!(error.kind(), io::ErrorKind::NotFound) && !self.path.exists(),
        }
    }

    /// Removes it once nothing runs in it. To be called when all in it have been killed.
    pub(crate) fn remove(&self) {
        for _ in 0..ROUNDS {
            if self.is_empty() {
                match self.all().iter().rev().try_for_each(|group| removed(group)) {
                    Ok(()) => return,
                    // The last of them is on its way out.
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
                    Err(error) => {
                        tracing::warn!(group = %self.path.display(), %error, "a group cannot be removed");
                        return;
                    }
                }
            }
            std::thread::yield_now();
        }
        tracing::warn!(group = %self.path.display(), "a group is not removed: something in it does not end");
    }

    /// It and the groups below it, what is above first.
    fn all(&self) -> Vec<PathBuf> {
        let (mut all, mut next) = (vec![self.path.clone()], 0);
        while let Some(group) = all.get(next) {
            let below = std::fs::read_dir(group).into_iter().flatten().flatten();
            let below: Vec<_> =
                below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).collect();
            all.extend(below.into_iter().map(|entry| entry.path()));
            next += 1;
        }
        all
    }
}

fn removed(group: &Path) -> io::Result<()> {
    match std::fs::remove_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// What the group of the daemon with this mark is called.
pub(super) fn name_of(mark: &str) -> String {
    format!("daemon-{mark}")
}

#[cfg(target_os = "linux")]
fn is_cgroup2(file_system: &rustix::fs::StatFs) -> bool {
    /// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
    const CGROUP2: u64 = 0x6367_7270;
    u64::try_from(file_system.f_type) == Ok(CGROUP2)
}

#[cfg(not(target_os = "linux"))]
fn is_cgroup2(_: &rustix::fs::StatFs) -> bool {
    false
}

/// The number behind a name, in a file with one of each a line.
fn counted(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// Writes one of the kernel's files. None is made, and a setting is one write.
pub(super) fn write(file: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;

    std::fs::OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_not_empty_and_what_is_gone_is() {
        let root = tempfile::tempdir().unwrap();
        let group = Group::at(root.path().join("group"));
        assert!(group.is_empty());
        group.make().unwrap();
        let events = group.path.join("cgroup.events");
        for (text, empty) in [("populated 0\nfrozen 0\n", true), ("populated 1\n", false), ("", false)] {
            std::fs::write(&events, text).unwrap();
            assert_eq!(group.is_empty(), empty, "{text}");
        }
        std::fs::remove_file(&events).unwrap();
        assert!(!group.is_empty());
        std::fs::create_dir(&events).unwrap();
        assert!(!group.is_empty());
    }

    #[test]
    fn a_group_is_not_ended_where_it_holds_what_no_daemons_can() {
        let root = tempfile::tempdir().unwrap();
        let group = Group::at(root.path().to_owned());
        let below = root.path().join("below");
        std::fs::create_dir(&below).unwrap();
        let own = std::process::id();
        for (listed, ended) in [
            ("1\n".to_owned(), ""),
            (format!("4711\n{own}\n"), ""),
            ("0\n4711\n".to_owned(), "1"),
            (String::new(), "1"),
        ] {
            for file in [root.path(), &below] {
                std::fs::write(root.path().join("cgroup.kill"), "").unwrap();
                std::fs::write(file.join("cgroup.procs"), &listed).unwrap();
                group.kill();
                let written = std::fs::read_to_string(root.path().join("cgroup.kill")).unwrap();
                assert_eq!(written, ended, "{listed:?} in {}", file.display());
                std::fs::write(file.join("cgroup.procs"), "").unwrap();
            }
        }
    }

    #[test]
    fn events_are_counted_by_their_whole_names() {
        let text = "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n";
        assert_eq!(counted(text, "oom_kill"), Some(5));
        assert_eq!(counted(text, "max"), Some(3));
        for none in ["oom_", "kill", ""] {
            assert_eq!(counted(text, none), None, "{none}");
        }
    }
}
