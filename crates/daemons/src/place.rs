//! Places that a daemon or its agent may write, reached without following a link: whatever was a
//! directory when it was made, they may have replaced by a link to somewhere else.

use std::io;
use std::path::{Component, Path};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fchmod, fstat, mkdirat, open, openat, unlinkat};
use rustix::io::Errno;

/// A directory and nothing else, least of all a link to one.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The most that is read of a file.
const LONGEST: u64 = 4 << 20;

/// The locks that a git which was killed leaves behind, below `.git`.
const LOCKS: [&str; 4] = ["index.lock", "HEAD.lock", "config.lock", "packed-refs.lock"];

/// Opens the directory `below` the directory `root`, which itself is no link.
pub(crate) fn opened(root: &Path, below: &Path) -> io::Result<OwnedFd> {
    beneath(&open(root, DIRECTORY, Mode::empty())?, below, DIRECTORY)
}

/// Opens what is `below` a directory, without any link.
#[cfg(target_os = "linux")]
fn beneath(root: &OwnedFd, below: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    use rustix::fs::{ResolveFlags, openat2};

    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    match openat2(root, below, flags, Mode::empty(), resolve) {
        // Where a container refuses the call.
        Err(Errno::NOSYS | Errno::PERM) => walked_from(root, below, flags),
        opened => Ok(opened?),
    }
}

#[cfg(not(target_os = "linux"))]
fn beneath(root: &OwnedFd, below: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    walked_from(root, below, flags)
}

fn walked_from(root: &OwnedFd, below: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let at = openat(root, ".", DIRECTORY, Mode::empty())?;
    let (Some(name), above) = (below.file_name(), below.parent().unwrap_or(Path::new(""))) else {
        return Ok(at);
    };
    let at = walk(at, above, |_, _| Ok(()))?;
    Ok(openat(&at, name, flags | OFlags::NOFOLLOW, Mode::empty())?)
}

/// A directory held by its descriptor: it stays what it was, whatever its name is given to.
#[derive(Debug)]
pub(crate) struct Held {
    descriptor: OwnedFd,
    #[cfg(not(target_os = "linux"))]
    name: std::path::PathBuf,
}

impl Held {
    /// The directory `below` the directory `root`, on a way without links.
    pub(crate) fn of(root: &Path, below: &Path) -> io::Result<Self> {
        Ok(Self {
            descriptor: opened(root, below)?,
            #[cfg(not(target_os = "linux"))]
            name: root.join(below),
        })
    }

    /// A path by which this process and one that it starts reach it, as long as this lives.
    #[cfg(target_os = "linux")]
    pub(crate) fn path(&self) -> std::path::PathBuf {
        use std::os::fd::AsRawFd as _;
        format!("/proc/self/fd/{}", self.descriptor.as_raw_fd()).into()
    }

    /// A path by which this process and one that it starts reach it, as long as nobody renames it.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.name.clone()
    }

    /// Opens a directory below it.
    pub(crate) fn below(&self, below: &Path) -> io::Result<OwnedFd> {
        beneath(&self.descriptor, below, DIRECTORY)
    }

    /// Makes what is missing of a directory below it.
    pub(crate) fn make(&self, below: &Path) -> io::Result<()> {
        let make = |above: &OwnedFd, name: &Path| match mkdirat(above, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error),
        };
        walk(openat(&self.descriptor, ".", DIRECTORY, Mode::empty())?, below, make).map(drop)
    }

    /// The same, with whatever stands in the way of it removed: links and files, none of which is
    /// followed.
    pub(crate) fn make_over(&self, below: &Path) -> io::Result<OwnedFd> {
        let make = |above: &OwnedFd, name: &Path| {
            match openat(above, name, DIRECTORY, Mode::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::NOTDIR | Errno::LOOP) => unlinkat(above, name, AtFlags::empty())?,
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
            mkdirat(above, name, Mode::RWXU)
        };
        walk(openat(&self.descriptor, ".", DIRECTORY, Mode::empty())?, below, make)
    }

    /// Whether it has a directory of its own there, or nothing; fails when it has something else.
    pub(crate) fn has_directory(&self, name: &str) -> io::Result<bool> {
        match openat(&self.descriptor, name, DIRECTORY, Mode::empty()) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether this is the directory that `other` is.
    pub(crate) fn is(&self, other: &Self) -> io::Result<bool> {
        let (one, other) = (fstat(&self.descriptor)?, fstat(&other.descriptor)?);
        Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
    }
}

/// Moves the directory `from` to where nothing is.
pub(crate) fn moved(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(Errno::NOSYS | Errno::INVAL) => {}
            moved => return Ok(moved?),
        }
    }
    if to.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    std::fs::rename(from, to)
}

/// What the file `below` `root` holds; nothing if there is none, or a link or pipe in its place.
pub(crate) fn read(root: &Path, below: &Path) -> io::Result<Option<String>> {
    use std::io::Read as _;

    let root = open(root, DIRECTORY, Mode::empty())?;
    let Ok(file) = beneath(&root, below, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC) else {
        return Ok(None);
    };
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let mut text = Vec::new();
    std::fs::File::from(file).take(LONGEST).read_to_end(&mut text)?;
    Ok(String::from_utf8(text).ok())
}

/// The bytes of a path.
pub(crate) fn bytes_of(path: &Path) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_owned()
}

fn walk(
    mut at: OwnedFd,
    below: &Path,
    first: impl Fn(&OwnedFd, &Path) -> Result<(), Errno>,
) -> io::Result<OwnedFd> {
    for part in below.components() {
        let Component::Normal(name) = part else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        first(&at, name.as_ref())?;
        at = openat(&at, name, DIRECTORY, Mode::empty())?;
    }
    Ok(at)
}

/// Removes the locks of a git that was killed in a tree, on `branch`. To be called when no turn runs
/// there.
pub(crate) fn unlock(tree: &Held, branch: &str) {
    let remove = |place: &str, name: &str| {
        if let Ok(place) = tree.below(place.as_ref()) {
            let _ = unlinkat(&place, name, AtFlags::empty());
        }
    };
    for lock in LOCKS {
        remove(".git", lock);
    }
    remove(".git/refs/heads", &format!("{branch}.lock"));
}

/// Makes the directories of a tree removable that are not readable or writable.
pub(crate) fn open_up(tree: &Path) -> io::Result<()> {
    let tree = open(tree, DIRECTORY, Mode::empty()).or_else(|error| unreadable(error, None, tree))?;
    open_all(&tree)
}

fn open_all(directory: &OwnedFd) -> io::Result<()> {
    fchmod(directory, Mode::RWXU)?;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
            let name =
                Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name.to_bytes()));
            match openat(directory, name, DIRECTORY, Mode::empty())
                .or_else(|error| unreadable(error, Some(directory), name))
            {
                Ok(below) => open_all(&below)?,
                // A file after all, or a link by now.
                Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Opens a directory that denied it, once it is made readable.
#[cfg(target_os = "linux")]
fn unreadable(error: Errno, above: Option<&OwnedFd>, name: &Path) -> Result<OwnedFd, Errno> {
    use std::os::fd::AsRawFd as _;

    if error != Errno::ACCESS {
        return Err(error);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = match above {
        Some(above) => openat(above, name, flags, Mode::empty())?,
        None => open(name, flags, Mode::empty())?,
    };
    // The kernel's own name for what was opened: no link of the agent's is in it.
    let itself = format!("/proc/self/fd/{}", found.as_raw_fd());
    rustix::fs::chmod(&itself, Mode::RWXU)?;
    openat(&found, ".", DIRECTORY, Mode::empty())
}

#[cfg(not(target_os = "linux"))]
fn unreadable(error: Errno, _above: Option<&OwnedFd>, _name: &Path) -> Result<OwnedFd, Errno> {
    Err(error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn directories_are_opened_up_and_what_a_link_names_is_not() {
        let root = tempfile::tempdir().unwrap();
        let (tree, outside) = (root.path().join("tree"), root.path().join("outside"));
        std::fs::create_dir_all(tree.join("a/b")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        for (path, bits) in [(&outside, 0o500), (&tree.join("a/b"), 0o000), (&tree.join("a"), 0o500)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(bits)).unwrap();
        }
        open_up(&tree).unwrap();
        assert_eq!((mode(&tree.join("a")), mode(&tree.join("a/b")), mode(&outside)), (0o700, 0o700, 0o500));
        let link = root.path().join("instead");
        symlink(&outside, &link).unwrap();
        assert!(open_up(&link).is_err());
        assert_eq!(mode(&outside), 0o500);
    }

    #[test]
    fn a_way_with_a_link_in_it_is_no_way() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("outside")).unwrap();
        symlink("outside", root.path().join("link")).unwrap();
        let held = Held::of(root.path(), "".as_ref()).unwrap();
        held.make("a/b".as_ref()).unwrap();
        let there = |below: &str| [opened(root.path(), below.as_ref()), held.below(below.as_ref())];
        assert!(there("a/b").iter().all(Result::is_ok));
        assert!(held.make("link/b".as_ref()).is_err());
        for no_way in ["link", "link/b", "../a", "a/../../x", "/"] {
            assert!(there(no_way).iter().all(Result::is_err), "{no_way}");
            let walked = walked_from(&held.descriptor, no_way.as_ref(), DIRECTORY);
            assert!(walked.is_err() || no_way == "/", "{no_way}");
        }
        assert!(!root.path().join("outside/b").exists());
    }

    #[test]
    fn a_directory_that_is_held_stays_what_it_was_when_its_name_is_given_to_a_link() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("tree/in")).unwrap();
        std::fs::create_dir_all(root.path().join("outside/in")).unwrap();
        std::fs::write(root.path().join("outside/file"), "secret").unwrap();
        let held = Held::of(root.path(), "tree".as_ref()).unwrap();
        std::fs::rename(root.path().join("tree"), root.path().join("away")).unwrap();
        symlink("outside", root.path().join("tree")).unwrap();
        std::fs::write(held.path().join("in/made"), "x").unwrap();
        assert!(root.path().join("away/in/made").exists() && !root.path().join("outside/in/made").exists());
        assert!(Held::of(root.path(), "tree".as_ref()).is_err());
        assert!(moved(&root.path().join("away"), &root.path().join("tree")).is_err(), "something is there");
        symlink("outside/file", root.path().join("shallow")).unwrap();
        assert_eq!(read(root.path(), "shallow".as_ref()).unwrap(), None);
        assert_eq!(read(root.path(), "outside/file".as_ref()).unwrap().as_deref(), Some("secret"));
    }
}
