//! The repository of a tree as the host made it, kept while a command runs in the tree.
//!
//! The command may write what it likes there: what git ignores, what it takes for unchanged, other settings. What the
//! task begins with, and what is kept for others, is decided by the repository that is put back.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, open, renameat};
use rustix::io::Errno;

use super::files;
use super::kept::{Kept, RESULT};
use crate::place::{self, DIRECTORY, Held};

/// What is copied, and put back. It is small: its objects are borrowed.
const GIT: &str = ".git";

/// What the command made of it, until that is removed.
const LEFT: &str = "left";

/// A copy, which is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Saved(PathBuf);

impl Saved {
    pub(super) fn of(kept: &Kept, tree: &Held) -> io::Result<Self> {
        let place = kept.draft()?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&place)?;
        let saved = Self(place);
        let (mut budget, to) = (RESULT, open(&saved.0, DIRECTORY, Mode::empty())?);
        files::copy_all((&tree.below(Path::new(""))?, GIT.as_ref()), &to, &mut budget)?;
        Ok(saved)
    }

    /// Puts it in place of whatever is there.
    pub(super) fn put_back(self, tree: &Held) -> io::Result<()> {
        let (root, aside) = (tree.below(Path::new(""))?, open(&self.0, DIRECTORY, Mode::empty())?);
        let left = match renameat(&root, GIT, &aside, LEFT) {
            // A directory that cannot be written cannot be moved either.
            Err(Errno::ACCESS | Errno::PERM) => {
                place::open_up(&tree.path().join(GIT))?;
                renameat(&root, GIT, &aside, LEFT)
            }
            moved => moved,
        };
        match left {
            Ok(()) | Err(Errno::NOENT) => Ok(renameat(&aside, GIT, &root, GIT)?),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        super::super::warn(super::super::remove(&self.0));
    }
}
