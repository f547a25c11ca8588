//! Places in a tree, reached without following a link: whatever was a directory when the tree was
//! made, its agent may have replaced by a link to somewhere else.

use std::io;
use std::path::{Component, Path};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fchmod, mkdirat, open, openat, unlinkat};
use rustix::io::Errno;

/// A directory and nothing else, least of all a link to one.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The locks that a git which was killed leaves behind, below `.git`.
const LOCKS: [&str; 4] = ["index.lock", "HEAD.lock", "config.lock", "packed-refs.lock"];

/// Opens the directory `below` the directory `root`, which itself is no link.
pub(super) fn opened(root: &Path, below: &Path) -> io::Result<OwnedFd> {
    walked(root, below, |_, _| Ok(()))
}

/// Makes what is missing of the directory `below` `root`.
pub(super) fn made(root: &Path, below: &Path) -> io::Result<()> {
    let make = |above: &OwnedFd, name: &Path| match mkdirat(above, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error),
    };
    walked(root, below, make).map(drop)
}

fn walked(
    root: &Path,
    below: &Path,
    first: impl Fn(&OwnedFd, &Path) -> Result<(), Errno>,
) -> io::Result<OwnedFd> {
    let mut at = open(root, DIRECTORY, Mode::empty())?;
    for part in below.components() {
        let Component::Normal(name) = part else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        first(&at, name.as_ref())?;
        at = openat(&at, name, DIRECTORY, Mode::empty())?;
    }
    Ok(at)
}

/// Removes the locks of a git that was killed in the tree `root`, on `branch`. To be called when no
/// turn runs there.
pub(super) fn unlock(root: &Path, branch: &str) {
    let remove = |place: &str, name: &str| {
        if let Ok(place) = opened(root, place.as_ref()) {
            let _ = unlinkat(&place, name, AtFlags::empty());
        }
    };
    for lock in LOCKS {
        remove(".git", lock);
    }
    remove(".git/refs/heads", &format!("{branch}.lock"));
}

/// Makes the directories of a tree removable that are not readable or writable.
pub(super) fn open_up(tree: &Path) -> io::Result<()> {
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
        made(root.path(), "a/b".as_ref()).unwrap();
        assert!(opened(root.path(), "a/b".as_ref()).is_ok());
        assert!(made(root.path(), "link/b".as_ref()).is_err());
        assert!(opened(root.path(), "link".as_ref()).is_err());
        assert!(opened(root.path(), "../a".as_ref()).is_err());
        assert!(!root.path().join("outside/b").exists());
    }
}
