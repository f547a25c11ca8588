//! Places that a daemon or its agent may write, reached without following a link: whatever was a
//! directory when it was made, they may have replaced by a link to somewhere else.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, fchmod, fstat, mkdirat, open, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

/// A directory and nothing else, least of all a link to one.
pub(crate) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The most that is read of a file.
const LONGEST: u64 = 4 << 20;

/// The locks that a git which was killed leaves behind, below `.git`.
const LOCKS: [&str; 4] = ["index.lock", "HEAD.lock", "config.lock", "packed-refs.lock"];

/// Opens the directory `below` the directory `root`, which itself is no link.
pub(crate) fn opened(root: &Path, below: &Path) -> io::Result<OwnedFd> {
    beneath(&open(root, DIRECTORY, Mode::empty())?, below, DIRECTORY)
}

/// Opens the directory `below` one that is open, on a way without links.
pub(crate) fn below(root: &OwnedFd, below: &Path) -> io::Result<OwnedFd> {
    beneath(root, below, DIRECTORY)
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
    name: PathBuf,
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

    /// The directory `root`, which nobody but its owner puts there, opened to that one if it is closed.
    pub(crate) fn over(root: &Path) -> io::Result<Self> {
        let opened = open(root, DIRECTORY, Mode::empty()).or_else(|error| unreadable(error, None, root))?;
        fchmod(&opened, Mode::RWXU)?;
        drop(opened);
        Self::of(root, Path::new(""))
    }

    /// A path by which this process and one that it starts reach it, as long as this lives.
    #[cfg(target_os = "linux")]
    pub(crate) fn path(&self) -> PathBuf {
        use std::os::fd::AsRawFd as _;
        format!("/proc/self/fd/{}", self.descriptor.as_raw_fd()).into()
    }

    /// A path by which this process and one that it starts reach it, as long as nobody renames it.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn path(&self) -> PathBuf {
        self.name.clone()
    }

    /// Opens a directory below it.
    pub(crate) fn below(&self, below: &Path) -> io::Result<OwnedFd> {
        beneath(&self.descriptor, below, DIRECTORY)
    }

    /// The same of a directory below it.
    pub(crate) fn inner(&self, below: &Path) -> io::Result<Self> {
        Ok(Self {
            descriptor: self.below(below)?,
            #[cfg(not(target_os = "linux"))]
            name: self.name.join(below),
        })
    }

    /// Makes what is missing of a directory below it.
    pub(crate) fn make(&self, below: &Path) -> io::Result<()> {
        let make = |above: &OwnedFd, name: &Path| match mkdirat(above, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error),
        };
        walk(openat(&self.descriptor, ".", DIRECTORY, Mode::empty())?, below, make).map(drop)
    }

    /// The same, with what stands in the way of it put aside and each directory on the way opened to its
    /// owner: links, files and closed directories, none of which is followed.
    pub(crate) fn make_over(&self, below: &Path) -> io::Result<OwnedFd> {
        let make = |above: &OwnedFd, name: &Path| {
            let opened = openat(above, name, DIRECTORY, Mode::empty())
                .or_else(|error| unreadable(error, Some(above), name));
            match opened {
                Ok(there) => return fchmod(&there, Mode::RWXU),
                Err(Errno::NOENT) => {}
                Err(Errno::NOTDIR | Errno::LOOP) => clear(above, name)?,
                Err(error) => return Err(error),
            }
            mkdirat(above, name, Mode::RWXU)
        };
        walk(openat(&self.descriptor, ".", DIRECTORY, Mode::empty())?, below, make)
    }

    /// Takes away what is `below` it, on a way that is made first as [`make_over`](Self::make_over) does.
    pub(crate) fn clear(&self, below: &Path) -> io::Result<()> {
        let (above, name) = (below.parent(), below.file_name().ok_or(io::ErrorKind::InvalidInput)?);
        let above = self.make_over(above.unwrap_or(Path::new("")))?;
        Ok(clear(&above, name.as_ref())?)
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
    path.as_os_str().as_bytes().to_owned()
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

/// Takes away whatever is called `name` there, which is not followed. What cannot be removed at once is put
/// aside first, so that the name is free.
pub(crate) fn clear(above: &OwnedFd, name: &Path) -> Result<(), Errno> {
    match unlinkat(above, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    for number in 0.. {
        let aside = PathBuf::from(format!(".aside-{number}"));
        match renameat(above, name, above, &aside) {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            Err(error) => return Err(error),
            Ok(()) => {
                // What is left of it is in nobody's way.
                let _ = remove_below(above, &aside);
                return Ok(());
            }
        }
    }
    Err(Errno::EXIST)
}

/// Writes a file in a directory, in place of whatever has its name and for its owner alone. No link is
/// followed.
pub(crate) fn write(directory: &OwnedFd, name: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = Path::new(".draft");
    clear(directory, draft)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(directory, draft, flags, Mode::RUSR | Mode::WUSR)?;
    io::Write::write_all(&mut std::fs::File::from(file), bytes)?;
    match renameat(directory, draft, directory, name) {
        Err(Errno::ISDIR) => {
            clear(directory, name)?;
            Ok(renameat(directory, draft, directory, name)?)
        }
        written => Ok(written?),
    }
}

/// Opens a tree to its owner, so that it can be moved.
pub(crate) fn open_up(tree: &Path) -> io::Result<()> {
    let tree = open(tree, DIRECTORY, Mode::empty()).or_else(|error| unreadable(error, None, tree))?;
    Ok(fchmod(&tree, Mode::RWXU)?)
}

/// How often a tree is gone through at most: somebody may be writing in it.
const PASSES: usize = 1 << 20;

/// Removes a tree, whatever its owner's agent made of it: closed to its owner, or deeper than the stack or the
/// descriptors of a process. Links in it are removed, not followed. What is below its root is moved up into
/// the root, level by level, so that three directories are open at most.
pub(crate) fn remove_all(tree: &Path) -> io::Result<()> {
    let parent = tree.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = tree.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    remove_below(&open(parent, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?, name.as_ref())
}

fn remove_below(above: &OwnedFd, name: &Path) -> io::Result<()> {
    let root = opened_up(above, name)?;
    let mut number = 0;
    for _ in 0..PASSES {
        let mut any = false;
        each(&root, |name, directory| {
            any = true;
            if directory {
                flatten(&root, name, &mut number)
            } else {
                gone(unlinkat(&root, name, AtFlags::empty()))
            }
        })?;
        if !any {
            return Ok(unlinkat(above, name, AtFlags::REMOVEDIR)?);
        }
    }
    Err(io::Error::other("something is written in it without an end"))
}

/// Removes the directory `name` of `root`; the directories in it are in `root` then.
fn flatten(root: &OwnedFd, name: &Path, number: &mut u64) -> Result<(), Errno> {
    let here = opened_up(root, name)?;
    each(&here, |inner, directory| {
        if !directory {
            return gone(unlinkat(&here, inner, AtFlags::empty()));
        }
        // One that is closed cannot be moved.
        drop(opened_up(&here, inner)?);
        loop {
            *number += 1;
            match renameat(&here, inner, root, format!(".{number}")) {
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                moved => return gone(moved),
            }
        }
    })?;
    match unlinkat(root, name, AtFlags::REMOVEDIR) {
        // Something came in meanwhile: the next pass finds it.
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        removed => gone(removed),
    }
}

/// What is in a directory, one after another, and whether it is a directory.
pub(crate) fn each(
    directory: &OwnedFd,
    mut one: impl FnMut(&Path, bool) -> Result<(), Errno>,
) -> Result<(), Errno> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = Path::new(std::ffi::OsStr::from_bytes(entry.file_name().to_bytes()));
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        let directory = match entry.file_type() {
            FileType::Unknown => {
                let kind = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| stat.st_mode);
                kind.is_ok_and(|mode| FileType::from_raw_mode(mode) == FileType::Directory)
            }
            kind => kind == FileType::Directory,
        };
        one(name, directory)?;
    }
    Ok(())
}

/// Opens a directory, and has its owner enter and change it.
fn opened_up(above: &OwnedFd, name: &Path) -> Result<OwnedFd, Errno> {
    let opened = openat(above, name, DIRECTORY, Mode::empty())
        .or_else(|error| unreadable(error, Some(above), name))?;
    fchmod(&opened, Mode::RWXU)?;
    Ok(opened)
}

/// What is not there any more is removed.
fn gone(removed: Result<(), Errno>) -> Result<(), Errno> {
    if removed == Err(Errno::NOENT) { Ok(()) } else { removed }
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
    fn a_tree_is_removed_whatever_its_modes_and_what_a_link_names_is_not() {
        let root = tempfile::tempdir().unwrap();
        let (tree, outside) = (root.path().join("tree"), root.path().join("outside"));
        std::fs::create_dir_all(tree.join("a/b/c")).unwrap();
        std::fs::create_dir_all(tree.join(".1/.2")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        for file in ["a/file", "a/b/c/file", ".2", ".1/.2/file"] {
            std::fs::write(tree.join(file), "x").unwrap();
        }
        std::fs::write(outside.join("file"), "kept").unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        for (path, bits) in [
            (&outside, 0o500),
            (&tree.join("a/b/c"), 0o000),
            (&tree.join("a/b"), 0o000),
            (&tree.join("a"), 0o500),
            (&tree, 0o100),
        ] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(bits)).unwrap();
        }
        remove_all(&tree).unwrap();
        assert!(tree.symlink_metadata().is_err());
        assert_eq!((mode(&outside), std::fs::read_dir(&outside).unwrap().count()), (0o500, 1));
        let link = root.path().join("instead");
        symlink(&outside, &link).unwrap();
        assert!(remove_all(&link).is_err() && open_up(&link).is_err());
        assert_eq!(mode(&outside), 0o500);
    }

    #[test]
    fn a_tree_of_thousands_of_levels_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        let mut at = open(&tree, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..5000 {
            mkdirat(&at, "d", Mode::RWXU).unwrap();
            mkdirat(&at, "beside", Mode::RWXU).unwrap();
            at = openat(&at, "d", DIRECTORY, Mode::empty()).unwrap();
        }
        drop(at);
        remove_all(&tree).unwrap();
        assert!(tree.symlink_metadata().is_err());
    }

    #[test]
    fn what_is_in_the_way_of_a_file_is_put_aside_and_no_link_is_followed() {
        for plant in ["a directory", "a directory with something in it", "a link", "a file"] {
            let root = tempfile::tempdir().unwrap();
            let (place, outside) = (root.path().join("place"), root.path().join("outside"));
            std::fs::create_dir(&place).unwrap();
            std::fs::write(&outside, "kept").unwrap();
            let name = place.join("name");
            match plant {
                "a link" => symlink(&outside, &name).unwrap(),
                "a file" => std::fs::write(&name, "theirs").unwrap(),
                "a directory" => std::fs::create_dir(&name).unwrap(),
                _ => std::fs::create_dir_all(name.join("a/b")).unwrap(),
            }
            let held = open(&place, DIRECTORY, Mode::empty()).unwrap();
            write(&held, "name".as_ref(), b"ours").unwrap();
            assert_eq!(std::fs::read_to_string(&name).unwrap(), "ours", "{plant}");
            assert_eq!(mode(&name), 0o600);
            assert_eq!(std::fs::read_to_string(&outside).unwrap(), "kept", "{plant}");
            assert_eq!(std::fs::read_dir(&place).unwrap().count(), 1, "{plant}");
        }
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
