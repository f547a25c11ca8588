//! One group: made, entered, limited, ended and removed.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

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
    /// Processes that it ended for want of memory.
    pub(crate) memory: u64,
    /// Processes and threads that it did not make.
    pub(crate) processes: u64,
}

impl Group {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn make(&self) -> io::Result<()> {
        std::fs::create_dir(&self.path)
    }

    /// Puts a process into it. What that starts from then on is in it too.
    pub(crate) fn enter(&self, process: u32) -> io::Result<()> {
        write(&self.path.join("cgroup.procs"), &process.to_string())
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

    /// Whether a setting is as it was written.
    pub(super) fn has(&self, setting: &Setting) -> Result<(), String> {
        let file = self.path.join(setting.file);
        match std::fs::read_to_string(&file) {
            Ok(text) if text.lines().next() == Some(setting.value.as_str()) => Ok(()),
            Ok(_) => Err(format!("{} is not as it is configured", file.display())),
            Err(_) if setting.may_be_missing => Ok(()),
            Err(error) => Err(format!("{} cannot be read: {error}", file.display())),
        }
    }

    /// The processes in it and in groups below it.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let listed = |group: &PathBuf| {
            let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>()
        };
        self.all().iter().flat_map(listed).collect()
    }

    pub(crate) fn events(&self) -> Events {
        let count = |file: &str, event: &str| {
            let text = std::fs::read_to_string(self.path.join(file)).unwrap_or_default();
            counted(&text, event).unwrap_or_default()
        };
        Events { memory: count("memory.events", "oom_kill"), processes: count("pids.events", "max") }
    }

    /// Kills all in it at once.
    pub(crate) fn kill(&self) {
        // An older kernel has no such file; then they are killed one by one.
        if let Err(error) = write(&self.path.join("cgroup.kill"), "1")
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(group = %self.path.display(), %error, "a group cannot be ended at once");
        }
    }

    /// Whether nothing runs in it.
    pub(crate) fn is_empty(&self) -> bool {
        let events = std::fs::read_to_string(self.path.join("cgroup.events")).unwrap_or_default();
        counted(&events, "populated").is_none_or(|populated| populated == 0)
    }

    /// Removes it once nothing runs in it. To be called when all in it have been killed.
    pub(crate) fn remove(&self) {
        for _ in 0..ROUNDS {
            if self.is_empty() {
                match self.all().iter().rev().try_for_each(std::fs::remove_dir) {
                    Ok(()) => return,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return,
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
    fn events_are_counted_by_their_whole_names() {
        let text = "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n";
        assert_eq!(counted(text, "oom_kill"), Some(5));
        assert_eq!(counted(text, "max"), Some(3));
        for none in ["oom_", "kill", ""] {
            assert_eq!(counted(text, none), None, "{none}");
        }
    }
}
