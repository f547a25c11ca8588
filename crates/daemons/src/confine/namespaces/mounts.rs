//! The tree of mounts of a daemon: what its walls open, at the paths where it is, and nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::OWN_PROC;
use crate::cgroup::unescaped;
use crate::confine::Walls;

/// Where the tree is made, out of the way.
const WORKSHOP: &str = "/dev";
/// In there: the tree, and what was there before.
const NEW: &str = "/new";
const OLD: &str = "/old";
const PROC: &str = "/proc";
const SHARED_MEMORY: &str = "/dev/shm";
const TMP: &str = "/tmp";
/// What programs expect of `/dev` besides devices.
const DESCRIPTORS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];
/// What nobody within needs: the user's keys in the kernel, and what the kernel tells of itself to root.
const HIDDEN: [&str; 5] =
    ["/proc/keys", "/proc/key-users", "/sys/kernel/debug", "/sys/kernel/tracing", "/sys/firmware"];
/// What is in place of what is hidden, in the workshop.
const EMPTY_FILE: &str = "/file";
const EMPTY_DIRECTORY: &str = "/directory";
/// The same in the tree, for what is hidden later.
const NO_FILE: &str = "/.no-file";
const NO_DIRECTORY: &str = "/.no-directory";
/// More links than these on the way to one place lead nowhere.
const LINKS: usize = 40;

/// What is in the tree, by its real path.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    /// What can be opened; whether it can be written.
    doors: BTreeMap<PathBuf, bool>,
    /// Of those that cannot be written, the ones that are not mounted so.
    tried: Vec<PathBuf>,
    /// What is within what is open, and empty there.
    hidden: Vec<PathBuf>,
    /// The links on the way there, which the tree has as well.
    links: BTreeMap<PathBuf, PathBuf>,
}

impl Tree {
    /// The tree for these walls, as the system is now. What does not exist is left out. What is `tried` is not mounted
    /// read-only.
    pub(super) fn of(walls: &Walls, tried: &[PathBuf]) -> Self {
        let tried = tried.iter().filter_map(|path| path.canonicalize().ok()).collect();
        let mut tree = Self { tried, ..Self::default() };
        for (doors, writable) in [(&walls.read, false), (&walls.write, true)] {
            for door in doors {
                if door == Path::new("/") {
                    let below = fs::read_dir(door).into_iter().flatten().flatten();
                    below.for_each(|entry| tree.open(&entry.path(), writable));
                } else {
                    tree.open(door, writable);
                }
            }
        }
        tree.prune();
        tree
    }

    /// Hides what nobody needs, and what not everybody may read below `private`: for root, that is all there is. What one of the walls' own doors
    /// leads to stays.
    pub(super) fn hide(&mut self, walls: &Walls, private: &[PathBuf]) {
        let known =
            HIDDEN.iter().map(PathBuf::from).chain(private.iter().flat_map(|below| closed_below(below)));
        let named = |path: &Path| walls.read.iter().chain(&walls.write).any(|door| door.starts_with(path));
        self.hidden = known.filter(|path| !named(path)).collect();
    }

    fn open(&mut self, door: &Path, writable: bool) {
        let Some(real) = real(door, &mut self.links) else { return };
        // These are the tree's own.
        if real.starts_with(PROC) || real == Path::new(SHARED_MEMORY) || real.starts_with(OWN_PROC) {
            return;
        }
        *self.doors.entry(real).or_default() |= writable;
    }

    /// Leaves out what is within what is open already.
    fn prune(&mut self) {
        let all = std::mem::take(&mut self.doors);
        // In order, so that what is above was looked at before.
        for (door, writable) in all {
            let above = door.ancestors().skip(1).find_map(|above| self.doors.get(above));
            if above.is_none_or(|above| writable && !above) {
                self.doors.insert(door, writable);
            }
        }
    }

    /// Whether something at or below `place` is open.
    fn leads_below(&self, place: &str) -> bool {
        self.doors.keys().any(|door| door.starts_with(place))
    }

    /// Makes the tree and makes it the root of this process, which is in a mount namespace of its own. `tmp` is
    /// what `/tmp` is within, unless something below the system's is open.
    pub(super) fn enter(&self, tmp: Option<&Path>) -> io::Result<()> {
        let tmp = tmp.filter(|_| !self.leads_below(TMP));
        mount_in(None, "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)?;
        mount_in(
            Some("tmpfs"),
            WORKSHOP,
            Some("tmpfs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            Some("mode=0755"),
        )?;
        for below in [NEW, OLD] {
            fs::create_dir(format!("{WORKSHOP}{below}"))?;
        }
        rustix::process::pivot_root(WORKSHOP, format!("{WORKSHOP}{OLD}"))?;
        std::env::set_current_dir("/")?;
        mount_in(
            Some("tmpfs"),
            NEW,
            Some("tmpfs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            Some("mode=0755"),
        )?;
        self.fill(tmp)?;
        umount2(OLD, MntFlags::MNT_DETACH)?;
        // The tree becomes the root, and what it was made in goes.
        std::env::set_current_dir(NEW)?;
        rustix::process::pivot_root(".", ".")?;
        umount2(".", MntFlags::MNT_DETACH)?;
        std::env::set_current_dir("/")?;
        self.protect(tmp.is_some())
    }

    fn fill(&self, tmp: Option<&Path>) -> io::Result<()> {
        let own = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        for door in self.doors.keys() {
            bind(&within(OLD, door), &within(NEW, door))
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", door.display())))?;
        }
        for (at, data) in [(PROC, None), (OWN_PROC, Some("subset=pid"))] {
            let at = within(NEW, Path::new(at));
            fs::create_dir_all(&at)?;
            mount_in(Some("proc"), &at, Some("proc"), own | MsFlags::MS_NOEXEC, data)?;
        }
        let shared = within(NEW, Path::new(SHARED_MEMORY));
        fs::create_dir_all(&shared)?;
        mount_in(Some("tmpfs"), &shared, Some("tmpfs"), own, Some("mode=1777"))?;
        if let Some(tmp) = tmp {
            bind(&within(OLD, tmp), &within(NEW, Path::new(TMP)))?;
        }
        self.empty()?;
        let descriptors = DESCRIPTORS.map(|(at, to)| (PathBuf::from(at), PathBuf::from(to)));
        for (at, to) in self.links.iter().map(|(at, to)| (at.clone(), to.clone())).chain(descriptors) {
            let at = within(NEW, &at);
            // What is below a door is as it is.
            if at.symlink_metadata().is_err() {
                fs::create_dir_all(at.parent().unwrap_or(Path::new(NEW)))?;
                std::os::unix::fs::symlink(to, at)?;
            }
        }
        Ok(())
    }

    /// Puts nothing in place of what is hidden.
    fn empty(&self) -> io::Result<()> {
        fs::File::create(within(NEW, Path::new(NO_FILE)))?;
        fs::create_dir(within(NEW, Path::new(NO_DIRECTORY)))?;
        fs::File::create(EMPTY_FILE)?;
        fs::create_dir(EMPTY_DIRECTORY)?;
        for hidden in &self.hidden {
            let at = within(NEW, hidden);
            let Ok(found) = at.symlink_metadata() else { continue };
            let empty = if found.is_dir() { EMPTY_DIRECTORY } else { EMPTY_FILE };
            mount_in(Some(empty), &at, None, MsFlags::MS_BIND, None)?;
        }
        Ok(())
    }

    /// Makes what may only be read such that nothing of it is changed, modes and times included.
    fn protect(&self, own_tmp: bool) -> io::Result<()> {
        let own = [Some(OWN_PROC), Some(SHARED_MEMORY), own_tmp.then_some(TMP)];
        let own = own.into_iter().flatten().map(Path::new).chain(self.tried.iter().map(PathBuf::as_path));
        let writable: Vec<&Path> = own
            .chain(self.doors.iter().filter(|(_, writable)| **writable).map(|(door, _)| door.as_path()))
            .collect();
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        for (at, flags) in table.lines().filter_map(mounted) {
            if writable.iter().any(|door| at.starts_with(door)) {
                continue;
            }
            let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
            mount_in(None, &at, None, flags, None)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", at.display())))?;
        }
        Ok(())
    }
}

/// Puts nothing in place of what a process was started with in its environment, for everybody in the tree, itself included, as
/// long as it lives. What is the same by way of its threads, which come and go, is not there either. To be called within the
/// tree, with the right to mount.
pub(super) fn conceal_environment(process: u32) -> io::Result<()> {
    for proc in [PROC, OWN_PROC] {
        for (what, nothing) in [("environ", NO_FILE), ("task", NO_DIRECTORY)] {
            let at = Path::new(proc).join(process.to_string()).join(what);
            mount_in(Some(nothing), &at, None, MsFlags::MS_BIND, None)?;
        }
    }
    Ok(())
}

/// What below `directory` not everybody may read, each with all that is below it.
fn closed_below(directory: &Path) -> Vec<PathBuf> {
    const TO_READ: u32 = 0o4;
    const TO_ENTER: u32 = 0o5;
    let (mut pending, mut closed) = (vec![directory.to_owned()], Vec::new());
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(found) = path.symlink_metadata() else { continue };
            let needed = if found.is_dir() { TO_ENTER } else { TO_READ };
            if found.is_symlink() {
                continue;
            }
            if found.mode() & needed != needed {
                closed.push(path);
            } else if found.is_dir() {
                pending.push(path);
            }
        }
    }
    closed
}

/// The path of `door` with no link in it, and those that were on the way; nothing where it leads nowhere.
fn real(door: &Path, links: &mut BTreeMap<PathBuf, PathBuf>) -> Option<PathBuf> {
    let parts = |path: &Path| -> Vec<OsString> {
        let named =
            path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
        named.map(|part| part.as_os_str().to_owned()).collect()
    };
    let mut pending = VecDeque::from(parts(door));
    let (mut at, mut found) = (PathBuf::from("/"), BTreeMap::new());
    while let Some(part) = pending.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        match fs::read_link(&next) {
            Ok(target) => {
                if found.insert(next, target.clone()).is_some() || found.len() > LINKS {
                    return None;
                }
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                parts(&target).into_iter().rev().for_each(|part| pending.push_front(part));
            }
            // It is there, and no link.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => at = next,
            Err(_) => return None,
        }
    }
    links.extend(found);
    Some(at)
}

/// `path`, which is absolute, below `root`.
fn within(root: &str, path: &Path) -> PathBuf {
    Path::new(root).join(path.strip_prefix("/").unwrap_or(path))
}

fn bind(source: &Path, target: &Path) -> io::Result<()> {
    if source.is_dir() {
        fs::create_dir_all(target)?;
    } else if target.symlink_metadata().is_err() {
        fs::create_dir_all(target.parent().unwrap_or(Path::new(NEW)))?;
        fs::File::create(target)?;
    }
    let source = source.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    mount_in(Some(source), target, None, MsFlags::MS_BIND | MsFlags::MS_REC, None)
}

fn mount_in(
    source: Option<&str>,
    target: impl AsRef<Path>,
    kind: Option<&str>,
    flags: MsFlags,
    data: Option<&str>,
) -> io::Result<()> {
    Ok(mount(source, target.as_ref(), kind, flags, data)?)
}

/// Where a line of the table of mounts is mounted, and those of its flags that a change must repeat.
fn mounted(line: &str) -> Option<(PathBuf, MsFlags)> {
    let mut fields = line.split(' ').skip(4);
    let (at, options) = (unescaped(fields.next()?), fields.next()?);
    let known =
        [("nosuid", MsFlags::MS_NOSUID), ("nodev", MsFlags::MS_NODEV), ("noexec", MsFlags::MS_NOEXEC)];
    let mut flags = MsFlags::empty();
    for option in options.split(',') {
        known.iter().filter(|(name, _)| *name == option).for_each(|(_, flag)| flags |= *flag);
    }
    Some((at, flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_within_an_open_place_is_not_opened_again_unless_to_write() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for below in ["read/deep/deeper", "write/deep", "linked"] {
            fs::create_dir_all(root.join(below)).unwrap();
        }
        std::os::unix::fs::symlink("read/deep", root.join("link")).unwrap();
        let paths = |names: &[&str]| names.iter().map(|name| root.join(name)).collect::<Vec<_>>();
        let walls = Walls {
            read: paths(&["read", "link/deeper", "write/deep", "gone"]),
            write: paths(&["write", "read/deep/deeper"]),
        };
        let tree = Tree::of(&walls, &[]);
        let expected = [("read", false), ("read/deep/deeper", true), ("write", true)];
        assert_eq!(tree.doors, expected.map(|(door, writable)| (root.join(door), writable)).into());
        assert_eq!(tree.links, [(root.join("link"), PathBuf::from("read/deep"))].into());
    }

    #[test]
    fn links_that_lead_in_circles_or_nowhere_are_no_doors() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for (link, to) in [("a", "b"), ("b", "a"), ("gone", "nowhere")] {
            std::os::unix::fs::symlink(to, root.join(link)).unwrap();
        }
        let read = ["a", "b", "gone"].map(|name| root.join(name)).to_vec();
        assert_eq!(Tree::of(&Walls { read, write: vec![] }, &[]), Tree::default());
    }

    #[test]
    fn a_line_of_the_table_is_read_with_its_blanks_and_flags() {
        let line = r"36 35 98:0 /mnt1 /a\040b\134c rw,nosuid,noexec,relatime master:1 - ext3 /dev/root rw";
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        assert_eq!(mounted(line), Some((PathBuf::from("/a b\\c"), flags)));
        assert_eq!(mounted("36 35"), None);
    }
}
