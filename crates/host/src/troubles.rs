//! Parts of a running host that do not work, for `doctor`: one thing broken is one thing broken.
//!
//! The host writes them down in its state directory while it runs, and takes them away when it ends.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The file's name in the state directory.
const FILE: &str = "troubles.json";

/// What does not work, and why, by the part. Clones share it; the last one takes the file away.
#[derive(Debug, Clone)]
pub struct Troubles(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    parts: Mutex<BTreeMap<String, String>>,
}

impl Troubles {
    /// None yet. What an earlier host left is taken away.
    pub fn none(state: &Path) -> Self {
        let troubles = Self(Arc::new(Inner { path: state.join(FILE), parts: Mutex::default() }));
        troubles.0.remove();
        troubles
    }

    /// `part` does not work for this reason, which is for people.
    pub fn tell(&self, part: &str, reason: &str) {
        tracing::error!("{part}: {reason}");
        self.change(|parts| drop(parts.insert(part.to_owned(), reason.to_owned())));
    }

    /// `part` works again.
    pub fn over(&self, part: &str) {
        self.change(|parts| drop(parts.remove(part)));
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, String>)) {
        let mut parts = self.0.parts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut parts);
        if let Err(error) = self.0.write(&parts) {
            tracing::warn!(%error, "what does not work cannot be written down for `doctor`");
        }
    }
}

impl Inner {
    fn write(&self, parts: &BTreeMap<String, String>) -> io::Result<()> {
        if parts.is_empty() {
            self.remove();
            return Ok(());
        }
        let mut file = tempfile::NamedTempFile::new_in(self.path.parent().unwrap_or(Path::new("/")))?;
        file.write_all(serde_json::to_string(parts)?.as_bytes())?;
        file.persist(&self.path)?;
        Ok(())
    }

    fn remove(&self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "what did not work earlier is still written down");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.remove();
    }
}

/// What does not work of the host that runs with `state`.
pub fn of(state: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(state.join(FILE)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_work_is_written_down_until_it_works_again_or_the_host_ends() {
        let state = tempfile::tempdir().unwrap();
        let troubles = Troubles::none(state.path());
        assert!(of(state.path()).is_empty());
        troubles.tell("telegram", "it is off");
        troubles.tell("rules", "a mistake");
        assert_eq!(of(state.path())["telegram"], "it is off");
        troubles.over("telegram");
        assert_eq!(of(state.path()).len(), 1);
        drop(troubles);
        assert!(of(state.path()).is_empty());
    }
}
