//! What a set-up's command made once, kept for the next trees with the same inputs, out of agents' reach.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};

use data_encoding::HEXLOWER;
use rustix::fs::{AtFlags, Mode, Timespec, Timestamps, futimens, open, openat, statat};
use sha2::{Digest as _, Sha256};

use super::files::{self, Budget};
use super::glob::{self, Pattern};
use crate::environment::Environment;
use crate::place::{self, DIRECTORY, Held};

/// How many results of a workspace are kept, those used last.
const RESULTS: usize = 3;

/// The most that one result may be.
const RESULT: Budget = Budget { files: 1 << 20, bytes: 16 << 30 };

/// The most that is read of the inputs.
const INPUTS: u64 = 64 << 20;

/// The results of one workspace.
#[derive(Debug)]
pub(super) struct Kept(PathBuf);

/// By what a result is found again: a digest of the command, what it is found on, and its inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key(String);

impl Key {
    /// That of `run` in the directory `at`, with what the patterns match there.
    pub(super) fn of(
        run: &str,
        at: &impl rustix::fd::AsFd,
        inputs: &[Pattern],
        environment: &Environment,
    ) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        part(run.as_bytes());
        // Other programs, other results.
        part(environment.get("PATH").unwrap_or_default().as_encoded_bytes());
        let at = openat(at, ".", DIRECTORY, Mode::empty())?;
        let mut left = INPUTS;
        for (path, _) in glob::found(&at, inputs)? {
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
            part(&place::bytes_of(&path));
            let (above, name) = split(&path)?;
            let above = place::below(&at, above).map_err(named)?;
            let bytes = files::bytes(&above, name, left).map_err(named)?;
            left -= bytes.len() as u64;
            part(&bytes);
        }
        Ok(Self(HEXLOWER.encode(&hasher.finalize())))
    }
}

impl Kept {
    /// Those below `root`, which only the host reaches.
    pub(super) fn below(root: &Path) -> Self {
        Self(root.join("made"))
    }

    /// Puts the result of `key` into a tree; whether there is one. Where something is in its way, that stays.
    pub(super) fn restore(&self, key: &Key, tree: &Held) -> io::Result<bool> {
        let Ok(kept) = open(self.0.join(&key.0), DIRECTORY, Mode::empty()) else { return Ok(false) };
        let tree = tree.below(Path::new(""))?;
        let (mut budget, mut failed) = (RESULT, None);
        place::each(&kept, |name, _| {
            files::copy_all((&kept, name), &tree, &mut budget).map_err(|error| {
                failed = Some(error);
                rustix::io::Errno::CANCELED
            })
        })
        .map_err(|error| failed.take().unwrap_or_else(|| error.into()))?;
        // It was used last.
        let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let _ = futimens(&kept, &Timestamps { last_access: now, last_modification: now });
        Ok(true)
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
        let filled = self.fill(&draft, tree, (made, copied));
        if let Err(error) = filled.and_then(|()| place::moved(&draft, &kept)) {
            super::super::warn(super::super::remove(&draft));
            return Err(error);
        }
        self.prune();
        Ok(())
    }

    fn fill(
        &self,
        draft: &Path,
        tree: &Held,
        (made, copied): (&[PathBuf], &[PathBuf]),
    ) -> io::Result<()> {
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

    /// Removes what was not used for longest.
    fn prune(&self) {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut all: Vec<_> = entries
            .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        all.sort_by(|one, other| other.0.cmp(&one.0));
        for (_, path) in all.into_iter().skip(RESULTS) {
            super::super::warn(super::super::remove(&path));
        }
    }
}

/// The directory that a path is in, and its name there.
pub(super) fn split(path: &Path) -> io::Result<(&Path, &Path)> {
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    match (path.parent(), path.file_name()) {
        (Some(above), Some(name)) if plain => Ok((above, Path::new(name))),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

