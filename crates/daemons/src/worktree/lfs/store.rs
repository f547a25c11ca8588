//! Where a repository has the content of its files of Git LFS: `lfs/objects/AA/BB/DIGEST`.
//!
//! It is reached by descriptors, on ways without links: what is below may be an agent's. What comes out and what goes in
//! is digested; a name alone says nothing.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::pointer::Pointer;
use crate::place::{self, Held};
use crate::random;
use crate::worktree::record::DRAFT;

/// How much is read at once.
const PIECE: usize = 256 << 10;

/// The content that one repository has.
#[derive(Debug)]
pub(in crate::worktree) struct Store(Held);

impl Store {
    /// That of the repository whose objects are in `common`.
    pub(in crate::worktree) fn of(common: &Path) -> io::Result<Self> {
        Ok(Self(Held::of(common, Path::new(""))?))
    }

    /// That of a task's tree, in which its agent's own git-lfs may have put something.
    pub(in crate::worktree) fn of_tree(tree: &Held) -> io::Result<Self> {
        Ok(Self(tree.inner(Path::new(".git"))?))
    }

    /// The file with this content, of the right size at least; nothing if there is none.
    pub(super) fn open(&self, pointer: &Pointer) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let there = self.0.below(&directory(pointer)).ok()?;
        let file = openat(&there, pointer.oid(), flags, Mode::empty()).ok()?;
        let stat = fstat(&file).ok()?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        (is_file && u64::try_from(stat.st_size) == Ok(pointer.size)).then(|| File::from(file))
    }

    /// Takes in what `from` has, of at most `most` bytes that are not there yet; how many those are. Of at most `read` bytes
    /// it is found out whether they are.
    pub(super) fn keep(
        &self,
        from: &mut (impl Read + Seek),
        (most, read): (u64, u64),
    ) -> io::Result<(Pointer, u64)> {
        let found = digested(from, &mut io::sink(), most.max(read))?;
        if self.has(&found) {
            return Ok((found, 0));
        }
        if found.size > most {
            return Err(too_large());
        }
        from.rewind()?;
        let pointer = self.keep_if(from, most, |_| true)?;
        let size = pointer.size;
        Ok((pointer, size))
    }

    /// Whether it has this content, by its digest.
    fn has(&self, pointer: &Pointer) -> bool {
        let there = self.open(pointer).map(|mut file| digested(&mut file, &mut io::sink(), pointer.size));
        there.is_some_and(|there| there.is_ok_and(|there| there == *pointer))
    }

    /// Takes in what `from` has, if it is this content; whether it is.
    pub(super) fn keep_as(&self, pointer: &Pointer, from: &mut impl Read) -> io::Result<bool> {
        self.keep_if(from, pointer.size, |found| found == pointer).map(|found| found == *pointer)
    }

    fn keep_if(
        &self,
        from: &mut impl Read,
        most: u64,
        is_wanted: impl Fn(&Pointer) -> bool,
    ) -> io::Result<Pointer> {
        let place_of_drafts = Path::new("lfs/tmp");
        self.0.make(place_of_drafts)?;
        let drafts = self.0.below(place_of_drafts)?;
        let draft = Draft::new(&drafts, Mode::from_raw_mode(0o644))?;
        remove_drafts(&drafts, &draft)?;
        let pointer = digested(from, &mut &draft.file, most)?;
        if !is_wanted(&pointer) {
            return Ok(pointer);
        }
        draft.file.sync_all()?;
        let place = directory(&pointer);
        self.0.make(&place)?;
        draft.becomes(&self.0.below(&place)?, Path::new(pointer.oid()))?;
        Ok(pointer)
    }
}

pub(super) fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "it is too large")
}

/// The directory of an object.
fn directory(pointer: &Pointer) -> PathBuf {
    Path::new("lfs/objects").join(&pointer.oid()[..2]).join(&pointer.oid()[2..4])
}

/// Copies what `from` has, of at most `most` bytes; the pointer to that.
pub(super) fn digested(from: &mut impl Read, to: &mut impl Write, most: u64) -> io::Result<Pointer> {
    let (mut hasher, mut size, mut piece) = (Sha256::new(), 0_u64, vec![0; PIECE]);
    loop {
        let read = match from.read(&mut piece) {
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        size += read as u64;
        if size > most {
            return Err(too_large());
        }
        hasher.update(&piece[..read]);
        to.write_all(&piece[..read])?;
    }
    Ok(Pointer::new(HEXLOWER.encode(&hasher.finalize()), size))
}

/// How the name of a draft begins.
const DRAFTS: &str = ".opencode-";

/// Removes what a crash left half written, long before a draft that is new. Others' files stay.
fn remove_drafts(directory: &OwnedFd, new: &Draft<'_>) -> io::Result<()> {
    let old = fstat(&new.file)?.st_mtime - i64::try_from(DRAFT.as_secs()).unwrap_or(i64::MAX);
    Ok(place::each(directory, |name, is_directory| {
        let is_ours = name.to_string_lossy().starts_with(DRAFTS) && !is_directory;
        let is_old = || statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|it| it.st_mtime < old);
        if is_ours && is_old() {
            let _ = unlinkat(directory, name, AtFlags::empty());
        }
        Ok(())
    })?)
}

/// A file that is being written, beside which nobody knows its name; removed unless it becomes another.
pub(super) struct Draft<'a> {
    directory: &'a OwnedFd,
    name: String,
    pub(super) file: File,
    done: bool,
}

impl<'a> Draft<'a> {
    pub(super) fn new(directory: &'a OwnedFd, mode: Mode) -> io::Result<Self> {
        let name = format!("{DRAFTS}{}", random::hex::<8>()?);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(directory, &name, flags, mode)?);
        Ok(Self { directory, name, file, done: false })
    }

    /// Gives it the place of whatever has this name.
    pub(super) fn becomes(mut self, directory: &OwnedFd, name: &Path) -> Result<(), Errno> {
        renameat(self.directory, &self.name, directory, name)?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.done {
            let _ = unlinkat(self.directory, &self.name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn what_is_kept_is_found_by_its_content_and_no_link_leads_in_or_out() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir_all(at("git")).unwrap();
        std::fs::create_dir_all(at("outside")).unwrap();
        let store = Store::of(&at("git")).unwrap();
        let keep = |content: &'static [u8]| store.keep(&mut io::Cursor::new(content), (5, 5));
        let (pointer, stored) = keep(b"large").unwrap();
        assert_eq!((stored, keep(b"large").unwrap().1), (5, 0), "it is there");
        assert_eq!((pointer.size, pointer.oid().len()), (5, 64));
        let oid = pointer.oid();
        let file = at("git/lfs/objects").join(&oid[..2]).join(&oid[2..4]).join(oid);
        assert_eq!(std::fs::read(&file).unwrap(), b"large");
        assert!(store.open(&pointer).is_some());
        assert!(store.open(&Pointer::new(oid.to_owned(), 6)).is_none(), "another size");
        assert!(keep(b"too large").is_err());
        std::fs::write(&file, "LARGE").unwrap();
        assert_eq!(keep(b"large").unwrap().1, 5, "what is there is something else");
        assert_eq!(std::fs::read(&file).unwrap(), b"large");
        assert_eq!(std::fs::read_dir(at("git/lfs/tmp")).unwrap().count(), 0, "no draft is left");

        std::fs::rename(&file, at("outside/file")).unwrap();
        symlink(at("outside/file"), &file).unwrap();
        assert!(store.open(&pointer).is_none(), "a link is no object");
        std::fs::remove_dir_all(at("git/lfs")).unwrap();
        symlink(at("outside"), at("git/lfs")).unwrap();
        assert!(store.open(&pointer).is_none() && keep(b"large").is_err());
        assert_eq!(std::fs::read_dir(at("outside")).unwrap().count(), 1, "nothing was written there");
    }

    #[test]
    fn drafts_that_a_crash_left_are_removed_and_nothing_of_others() {
        let root = tempfile::tempdir().unwrap();
        let drafts = root.path().join("lfs/tmp");
        std::fs::create_dir_all(&drafts).unwrap();
        for (name, is_old) in [(".opencode-old", true), (".opencode-new", false), ("of-git-lfs", true)] {
            let file = File::create(drafts.join(name)).unwrap();
            if is_old {
                file.set_modified(SystemTime::UNIX_EPOCH + DRAFT).unwrap();
            }
        }
        Store::of(root.path()).unwrap().keep(&mut io::Cursor::new(b"large"), (5, 5)).unwrap();
        let mut left: Vec<_> =
            std::fs::read_dir(&drafts).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".opencode-new", "of-git-lfs"]);
    }
}
