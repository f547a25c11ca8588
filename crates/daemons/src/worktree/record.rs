//! What a tree is for, written down beside the trees, where no agent reaches.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::submodules::Submodule;

/// What is written for longer is nobody's any more.
pub(super) const DRAFT: Duration = Duration::from_hours(1);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) id: String,
    /// The commit it began from.
    pub(super) base: String,
    pub(super) branch: String,
    /// The commit its branch was last given; nothing while nothing came of it.
    pub(super) tip: Option<String>,
    /// What was last begun in it, in its connector's own words.
    pub(super) checkpoint: Option<Value>,
    pub(super) session: Option<String>,
    /// Whether something was begun in it since it was last collected.
    #[serde(default)]
    pub(super) pending: bool,
    /// What the last turn in it was asked for, in a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) title: Option<String>,
    /// Whether its set-up was begun where agents reach it, and has not ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) half_made: bool,
    /// Its submodules, each after the one that it is in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) submodules: Vec<Submodule>,
}

impl Record {
    pub(super) fn new(id: &str, base: &str) -> Self {
        Self {
            id: id.to_owned(),
            base: base.to_owned(),
            branch: format!("opencode-{id}"),
            tip: None,
            checkpoint: None,
            session: None,
            pending: false,
            title: None,
            half_made: false,
            submodules: Vec::new(),
        }
    }

    /// The commit that it is to be made from.
    pub(super) fn tip(&self) -> &str {
        self.tip.as_deref().unwrap_or(&self.base)
    }

    /// Whether an agent was ever to work in it.
    pub(super) fn has_begun(&self) -> bool {
        self.checkpoint.is_some() || self.session.is_some()
    }

    /// Every record in `root`, the last used first. One that cannot be read counts as absent.
    pub(super) fn all(root: &Path) -> Vec<Self> {
        let mut found: Vec<(SystemTime, Self)> = Vec::new();
        for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
            let path = entry.path();
            let id = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if path.extension().is_some_and(|extension| extension == "json")
                && let Some(record) = Self::read(root, id)
            {
                let used = entry.metadata().and_then(|metadata| metadata.modified());
                found.push((used.unwrap_or(SystemTime::UNIX_EPOCH), record));
            }
        }
        found.sort_by(|(one, _), (other, _)| other.cmp(one));
        found.into_iter().map(|(_, record)| record).collect()
    }

    pub(super) fn read(root: &Path, id: &str) -> Option<Self> {
        let record: Self = serde_json::from_slice(&std::fs::read(path(root, id)).ok()?).ok()?;
        (record.id == id).then_some(record)
    }

    /// Whether there is one, be it readable or not.
    pub(super) fn exists(root: &Path, id: &str) -> bool {
        path(root, id).symlink_metadata().is_ok()
    }

    /// Returns when it would survive a crash.
    pub(super) fn write(&self, root: &Path) -> io::Result<()> {
        std::fs::create_dir_all(root)?;
        let mut file = tempfile::NamedTempFile::new_in(root)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.as_file().sync_all()?;
        file.persist(path(root, &self.id))?;
        Ok(())
    }

    pub(super) fn remove(&self, root: &Path) {
        if let Err(error) = std::fs::remove_file(path(root, &self.id)) {
            tracing::warn!(id = self.id, %error, "the record of a working tree cannot be removed");
        }
    }
}

/// Removes the files and repositories that a crash left half written in `root`: of those of this process none gets old.
pub(super) fn remove_drafts(root: &Path) {
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|metadata| metadata.modified()).map(|at| at.elapsed());
        if entry.file_name().to_string_lossy().starts_with(".tmp")
            && matches!(age, Ok(Ok(age)) if age > DRAFT)
        {
            super::warn(super::remove(&entry.path()));
        }
    }
}

fn path(root: &Path, id: &str) -> PathBuf {
    root.join(format!("{id}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crash_left_half_written_is_removed_once_it_is_old() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for directory in [".tmpOld", ".tmpNew", "trees"] {
            std::fs::create_dir_all(at(directory).join("repository/objects")).unwrap();
        }
        for file in [".tmpFile", "a.json"] {
            std::fs::write(at(file), "").unwrap();
        }
        let old = SystemTime::UNIX_EPOCH + DRAFT;
        for name in [".tmpOld", ".tmpFile", "trees", "a.json"] {
            std::fs::File::open(at(name)).unwrap().set_modified(old).unwrap();
        }
        remove_drafts(root.path());
        let mut left: Vec<_> =
            std::fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".tmpNew", "a.json", "trees"]);
    }
}
