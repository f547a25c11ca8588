//! What a set-up's command made once, kept for the next trees with the same inputs, out of agents' reach.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};

use data_encoding::HEXLOWER;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, Timespec, Timestamps, futimens, open, statat};
use sha2::{Digest as _, Sha256};

use super::files::{self, Budget};
use super::glob::{self, Pattern};
use crate::environment::Environment;
use crate::place::{self, DIRECTORY, Held};
use crate::random;

/// How many results of a workspace are kept, those used last.
const RESULTS: usize = 3;

/// The most that one result may be.
pub(super) const RESULT: Budget = Budget { files: 1 << 20, bytes: 16 << 30 };

/// What the name of a copy for the next tree ends with.
const SPARE: &str = "spare";

/// The most that is read of the inputs.
const INPUTS: u64 = 64 << 20;

/// The results of one workspace, each with a copy of it for the next tree, since moving that takes no time.
#[derive(Debug, Clone)]
pub(super) struct Kept(PathBuf);

/// What decides about the result of a command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decides<'a> {
    pub(super) run: &'a str,
    /// The files of the tree that do.
    pub(super) inputs: &'a [Pattern],
    /// Those that were copied into it.
    pub(super) copied: &'a [PathBuf],
    /// The names of the variables that it is passed.
    pub(super) passed: &'a [String],
    pub(super) environment: &'a Environment,
}

/// By what a result is found again: a digest of what decides about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key(String);

impl Key {
    /// That of a command in the directory `prefix` of a tree; nothing if its inputs match nothing there.
    pub(super) fn of(tree: &Held, prefix: &Path, decides: Decides<'_>) -> io::Result<Option<Self>> {
        let Decides { run, inputs, copied, passed, environment } = decides;
        let (root, at) = (tree.below(Path::new(""))?, tree.below(prefix)?);
        let found = glob::found(&at, inputs)?;
        if found.is_empty() {
            return Ok(None);
        }
        let mut hasher = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        part(run.as_bytes());
        // Other programs, other results.
        part(environment.get("PATH").unwrap_or_default().as_encoded_bytes());
        let found: Vec<PathBuf> = found.into_keys().collect();
        for (at, files, most) in [(&at, found.as_slice(), INPUTS), (&root, copied, super::COPIED.bytes)] {
            part(&files.len().to_be_bytes());
            let mut left = most;
            for path in files {
                let named =
                    |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                part(&place::bytes_of(path));
                let (above, name) = split(path)?;
                let above = place::below(at, above).map_err(named)?;
                let bytes = files::bytes(&above, name, left).map_err(named)?;
                left -= bytes.len() as u64;
                part(&bytes);
            }
        }
        // Their values are nobody's to digest; that there is one more is another command.
        for name in passed {
            part(name.as_bytes());
        }
        Ok(Some(Self(HEXLOWER.encode(&hasher.finalize()))))
    }
}

impl Kept {
    /// Those below `root`, which only the host reaches.
    pub(super) fn below(root: &Path) -> Self {
        Self(root.join("made"))
    }

    /// A new name for what is being made. Of what a crash leaves there, [`clean`](Self::clean) removes it.
    pub(super) fn draft(&self) -> io::Result<PathBuf> {
        Ok(self.0.join(format!(".{}", random::hex::<8>()?)))
    }

    /// Puts the result of `key` into a tree; whether there is one. Where something is in its way, that stays.
    pub(super) fn restore(&self, key: &Key, tree: &Held) -> io::Result<bool> {
        let Ok(kept) = open(self.0.join(&key.0), DIRECTORY, Mode::empty()) else { return Ok(false) };
        let tree = tree.below(Path::new(""))?;
        if !self.moved(key, &tree)? {
            let mut budget = RESULT;
            for name in names_in(&kept)? {
                files::copy_all((&kept, &name), &tree, &mut budget)?;
            }
        }
        // It was used last.
        let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let _ = futimens(&kept, &Timestamps { last_access: now, last_modification: now });
        Ok(true)
    }

    /// Moves the copy that was made ahead; whether there was one.
    fn moved(&self, key: &Key, tree: &OwnedFd) -> io::Result<bool> {
        let (spare, taken) = (self.0.join(spare(key)), self.0.join(format!(".{}", random::hex::<8>()?)));
        // Nobody else takes it from here on.
        if std::fs::rename(&spare, &taken).is_err() {
            return Ok(false);
        }
        let from = open(&taken, DIRECTORY, Mode::empty()).map_err(io::Error::from);
        let moved = from.and_then(|from| {
            names_in(&from)?.iter().try_for_each(|name| files::move_all((&from, name), tree))
        });
        super::super::warn(super::super::remove(&taken));
        moved.map(|()| true)
    }

    /// Makes the copy for the next tree, if there is none.
    pub(super) fn make_spare(&self, key: &Key) -> io::Result<()> {
        let (kept, spare) = (self.0.join(&key.0), self.0.join(spare(key)));
        if spare.exists() || !kept.exists() {
            return Ok(());
        }
        let draft = self.0.join(format!(".{}", random::hex::<8>()?));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&draft)?;
        let copied = || {
            let (from, to) =
                (open(&kept, DIRECTORY, Mode::empty())?, open(&draft, DIRECTORY, Mode::empty())?);
            let mut budget = RESULT;
            names_in(&from)?.iter().try_for_each(|name| files::copy_all((&from, name), &to, &mut budget))?;
            place::moved(&draft, &spare)
        };
        copied().inspect_err(|_| super::super::warn(super::super::remove(&draft)))
    }

    /// Removes what a crash left half done. To be called while nothing is made.
    pub(super) fn clean(&self) {
        for entry in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                super::super::warn(super::super::remove(&entry.path()));
            }
        }
    }

    /// Keeps what `made` names in a tree, without the files in `copied`, as the result of `key`.
    pub(super) fn keep(
        &self,
        key: &Key,
        tree: &Held,
        (made, copied): (&[PathBuf], &[PathBuf]),
    ) -> io::Result<()> {
        let (draft, kept) = (self.0.join(format!(".{}", key.0)), self.0.join(&key.0));
        if kept.exists() {
            return Ok(());
        }
        super::super::remove(&draft)?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&draft)?;
        let filled = fill(&draft, tree, (made, copied));
        if let Err(error) = filled.and_then(|()| place::moved(&draft, &kept)) {
            super::super::warn(super::super::remove(&draft));
            return Err(error);
        }
        self.prune();
        Ok(())
    }

    /// Removes what was not used for longest.
    fn prune(&self) {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut all: Vec<_> = entries
            .filter(|entry| entry.file_name().to_str().is_some_and(|name| !name.contains('.')))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        all.sort_by_key(|(used, _)| std::cmp::Reverse(*used));
        for (_, path) in all.into_iter().skip(RESULTS) {
            super::super::warn(super::super::remove(&path));
            super::super::warn(super::super::remove(&path.with_added_extension(SPARE)));
        }
    }
}

/// Copies what `made` names in a tree, without the files in `copied`, to `draft`.
fn fill(draft: &Path, tree: &Held, (made, copied): (&[PathBuf], &[PathBuf])) -> io::Result<()> {
    let (to, mut budget) = (Held::of(draft, Path::new(""))?, RESULT);
    for path in made {
        let (above, name) = split(path)?;
        to.make(above)?;
        let (from, into) = (tree.below(above)?, to.below(above)?);
        // Somebody may have removed it since it was listed.
        if statat(&from, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            files::copy_all((&from, name), &into, &mut budget)?;
        }
    }
    // They are copied anew for each tree, as they are then.
    for path in copied {
        let (above, name) = split(path)?;
        if let Ok(above) = to.below(above) {
            place::clear(&above, name)?;
        }
    }
    Ok(())
}

/// What the copy of a result for the next tree is called.
fn spare(key: &Key) -> String {
    format!("{}.{SPARE}", key.0)
}

fn names_in(directory: &OwnedFd) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    place::each(directory, |name, _| {
        names.push(name.to_owned());
        Ok(())
    })?;
    Ok(names)
}

/// The directory that a path is in, and its name there.
pub(in crate::worktree) fn split(path: &Path) -> io::Result<(&Path, &Path)> {
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    match (path.parent(), path.file_name()) {
        (Some(above), Some(name)) if plain => Ok((above, Path::new(name))),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(root: &Path, name: &str, files: &[(&str, &str)]) -> (PathBuf, Held) {
        let tree = root.join(name);
        std::fs::create_dir_all(&tree).unwrap();
        for (file, text) in files {
            std::fs::create_dir_all(tree.join(file).parent().unwrap()).unwrap();
            std::fs::write(tree.join(file), text).unwrap();
        }
        let held = Held::of(root, name.as_ref()).unwrap();
        (tree, held)
    }

    #[test]
    fn a_result_is_the_same_whether_it_is_copied_or_was_copied_ahead_and_overwrites_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (kept, key) = (Kept::below(root.path()), Key("a".repeat(64)));
        let made =
            [("web/installed/a", "a"), ("web/installed/b/c", "c"), ("web/.env", "A=1"), ("x.log", "x")];
        let (first, held) = tree(root.path(), "first", &made);
        std::os::unix::fs::symlink("b/c", first.join("web/installed/link")).unwrap();
        assert!(!kept.restore(&key, &held).unwrap(), "there is none yet");
        let paths = ["web/installed", "web/.env", "x.log", "gone"].map(PathBuf::from);
        kept.keep(&key, &held, (&paths, &["web/.env".into()])).unwrap();
        for round in 0..3 {
            if round > 0 {
                kept.make_spare(&key).unwrap();
                assert!(root.path().join("made").join(spare(&key)).is_dir());
            }
            let own = [("web/page", "own"), ("web/installed/a", "own")];
            let (next, held) = tree(root.path(), &format!("tree{round}"), &own);
            assert!(kept.restore(&key, &held).unwrap());
            let read = |name: &str| std::fs::read_to_string(next.join(name)).unwrap();
            assert_eq!((read("web/page").as_str(), read("web/installed/a").as_str()), ("own", "own"));
            assert_eq!((read("web/installed/link").as_str(), read("x.log").as_str()), ("c", "x"));
            assert!(!next.join("web/.env").exists(), "what is copied for each tree is not kept");
            assert!(!root.path().join("made").join(spare(&key)).exists());
            std::fs::write(next.join("web/installed/b/c"), "written by an agent").unwrap();
        }
        // Of those that were used last, each is found still.
        for number in 0..RESULTS {
            kept.keep(&Key(format!("{number}")), &held, (&paths, &[])).unwrap();
        }
        std::fs::write(root.path().join("made/.crashed"), "x").unwrap();
        kept.clean();
        assert_eq!(std::fs::read_dir(root.path().join("made")).unwrap().count(), RESULTS);
    }
}
