//! The lock of a tree: whoever uses or removes it holds that, in this process or in another.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::record::Record;

/// A lock that is held, until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    root: PathBuf,
    id: String,
}

impl Lock {
    /// That of the tree `id`, beside its record in `root`; nothing while somebody else has it.
    pub(super) fn take(root: &Path, id: &str) -> io::Result<Option<Self>> {
        std::fs::create_dir_all(root)?;
        let path = path(root, id);
        loop {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            let locked = file.metadata()?;
            // Who had it may have removed it in between; then it locks nothing.
            if path.metadata().is_ok_and(|named| (named.dev(), named.ino()) == (locked.dev(), locked.ino())) {
                return Ok(Some(Self { file, root: root.to_owned(), id: id.to_owned() }));
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !Record::exists(&self.root, &self.id) {
            let _ = std::fs::remove_file(path(&self.root, &self.id));
        }
        // A process that is being started elsewhere has the file for a moment too.
        let _ = self.file.unlock();
    }
}

fn path(root: &Path, id: &str) -> PathBuf {
    root.join(format!("{id}.lock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_of_one_at_a_time_and_its_file_goes_with_the_record() {
        let root = tempfile::tempdir().unwrap();
        let record = Record::new("a1", "base");
        record.write(root.path()).unwrap();
        let held = Lock::take(root.path(), "a1").unwrap().unwrap();
        assert!(Lock::take(root.path(), "a1").unwrap().is_none());
        assert!(Lock::take(root.path(), "b2").unwrap().is_some(), "another tree is another's");
        drop(held);
        let held = Lock::take(root.path(), "a1").unwrap().unwrap();
        record.remove(root.path());
        drop(held);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
