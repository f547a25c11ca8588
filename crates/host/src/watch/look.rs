//! One look through a directory, and what differs between two.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use connector_rules::{FileChange, FileEvent};

/// More files than this are not watched at once.
const MOST: usize = 200_000;

/// What is never looked into: what git keeps there changes whenever it is asked something.
const GIT: &str = ".git";

/// Files by their whole paths.
pub(super) type Seen = BTreeMap<PathBuf, Print>;

/// What the system says of a file: another, once it was written to or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Print {
    size: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Print {
    fn of(about: &Metadata) -> Self {
        Self {
            size: about.size(),
            inode: about.ino(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }
}

/// The files at `root`, itself one or a directory, of those that `counts` by their path below it. What is not there
/// is empty, and so is a directory that others keep to themselves; what else cannot be read is an error, so that it is
/// not taken for gone.
pub(super) fn through(root: &Path, counts: impl Fn(&str) -> bool) -> io::Result<Seen> {
    let mut seen = Seen::new();
    let about = match std::fs::metadata(root) {
        Ok(about) => about,
        Err(error) if is_gone(&error) => return Ok(seen),
        Err(error) => return Err(error),
    };
    if about.is_file() {
        let name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if counts(&name) {
            seen.insert(root.to_owned(), Print::of(&about));
        }
        return Ok(seen);
    }
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) || (directory != root && is_closed(&error)) => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            let about = match path.symlink_metadata() {
                Ok(about) => about,
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(error),
            };
            if about.is_dir() {
                if path.file_name().is_some_and(|name| name != GIT) {
                    left.push(path);
                }
                continue;
            }
            let below = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            if about.is_file() && counts(&below) {
                seen.insert(path, Print::of(&about));
            }
            if seen.len() > MOST {
                let message = format!("there are more than {MOST} files; watch a directory with fewer");
                return Err(io::Error::new(ErrorKind::FileTooLarge, message));
            }
        }
    }
    Ok(seen)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn is_closed(error: &io::Error) -> bool {
    error.kind() == ErrorKind::PermissionDenied
}

/// What differs, in the order of the paths.
pub(super) fn changes(before: &Seen, now: &Seen) -> Vec<FileChange> {
    let change = |path: &Path, event| FileChange { path: path.to_string_lossy().into_owned(), event };
    let there = now.iter().filter_map(|(path, print)| match before.get(path) {
        None => Some(change(path, FileEvent::Create)),
        Some(known) if known != print => Some(change(path, FileEvent::Modify)),
        Some(_) => None,
    });
    let gone = before.keys().filter(|path| !now.contains_key(*path));
    let mut all: Vec<_> = there.chain(gone.map(|path| change(path, FileEvent::Delete))).collect();
    all.sort();
    all
}

/// Has `known` be as `now` where these changes are.
pub(super) fn take_over(known: &mut Seen, now: &Seen, changes: &[FileChange]) {
    for path in changes.iter().map(|change| Path::new(&change.path)) {
        match now.get(path) {
            Some(print) => _ = known.insert(path.to_owned(), *print),
            None => _ = known.remove(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use FileEvent::{Create, Delete, Modify};

    use super::*;

    #[test]
    fn each_way_of_changing_a_file_is_one_change_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let at = |name: &str| root.join(name);
        std::fs::create_dir_all(at("below/it")).unwrap();
        std::fs::create_dir(at(".git")).unwrap();
        for name in ["same", "written", "replaced", "removed", "moved", "below/it/deep", ".git/index"] {
            std::fs::write(at(name), name).unwrap();
        }
        let before = through(root, |_| true).unwrap();
        assert_eq!(before.len(), 6);
        assert_eq!(changes(&before, &through(root, |_| true).unwrap()), []);

        std::fs::write(at("written"), "written again").unwrap();
        std::fs::write(at("other"), "replaced").unwrap();
        std::fs::rename(at("other"), at("replaced")).unwrap();
        std::fs::remove_file(at("removed")).unwrap();
        std::fs::rename(at("moved"), at("below/moved")).unwrap();
        std::fs::write(at("made"), "").unwrap();
        std::fs::write(at(".git/index"), "another").unwrap();
        std::os::unix::fs::symlink(at("same"), at("link")).unwrap();
        let now = through(root, |_| true).unwrap();
        let seen: Vec<_> = changes(&before, &now)
            .into_iter()
            .map(|change| (change.path[root.to_string_lossy().len() + 1..].to_owned(), change.event))
            .collect();
        let wanted = [
            ("below/moved", Create),
            ("made", Create),
            ("moved", Delete),
            ("removed", Delete),
            ("replaced", Modify),
            ("written", Modify),
        ];
        assert_eq!(seen, wanted.map(|(path, event)| (path.to_owned(), event)));

        std::fs::remove_dir_all(root).unwrap();
        let gone = through(root, |_| true).unwrap();
        assert!(gone.is_empty());
        assert!(changes(&now, &gone).iter().all(|change| change.event == Delete));
    }

    #[test]
    fn one_file_is_watched_by_itself_and_what_is_not_asked_for_is_not_seen() {
        let directory = tempfile::tempdir().unwrap();
        let (file, other) = (directory.path().join("a.md"), directory.path().join("b.md"));
        std::fs::write(&file, "").unwrap();
        std::fs::write(other, "").unwrap();
        assert_eq!(through(&file, |_| true).unwrap().len(), 1);
        assert_eq!(through(&file, |name| name == "b.md").unwrap().len(), 0);
        assert_eq!(through(directory.path(), |below| below == "b.md").unwrap().len(), 1);
    }
}
