//! The state file of one daemon: what a later host needs to find it again and to prove it.
//!
//! Readable by its owner alone, replaced whole (written beside itself, then renamed), and locked
//! for as long as a host holds the daemon. It is written before the process is started, with the
//! mark alone, so that a host killed in the middle leaves nothing that cannot be found.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cgroup::Group;
use crate::process::{Family, ProcessId};

const FORMAT: u32 = 1;

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    format: u32,
    pub(crate) mark: String,
    pub(crate) process: Option<ProcessId>,
    pub(crate) port: u16,
    pub(crate) password: String,
    pub(crate) directory: PathBuf,
    pub(crate) digest: String,
    pub(crate) version: Option<String>,
    /// The process of its proxies.
    #[serde(default)]
    pub(crate) egress: Option<ProcessId>,
    /// The group that it was to be started in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<Group>,
}

impl Record {
    pub(crate) fn new(mark: String, port: u16, password: String, directory: PathBuf, digest: String) -> Self {
        Self {
            format: FORMAT,
            mark,
            process: None,
            port,
            password,
            directory,
            digest,
            version: None,
            egress: None,
            group: None,
        }
    }

    pub(crate) fn set_group(&mut self, group: Option<Group>) {
        self.group = group;
    }

    /// The group that it was started in, while there is one and it is the daemon's: what is in it is ended.
    pub(crate) fn group(&self) -> Option<Group> {
        self.group.clone().filter(|group| group.is_of(&self.mark))
    }

    /// A file that cannot be understood counts as absent: nothing in it could be proven, and a
    /// daemon it may have named is left alone.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(record) if record.format == FORMAT => Ok(Some(record)),
            _ => {
                tracing::warn!(path = %path.display(), "a daemon's record cannot be understood");
                Ok(None)
            }
        }
    }

    pub(crate) fn family(&self) -> Family {
        Family { leader: self.process.clone(), mark: self.mark.clone(), group: self.group() }
    }
}

/// The file, locked. Dropping it unlocks and leaves the file.
pub(crate) struct RecordFile {
    path: PathBuf,
    _lock: File,
}

impl RecordFile {
    /// Locks the file for this host, or says that another one holds it (`WouldBlock`).
    pub(crate) fn lock(path: &Path) -> io::Result<Self> {
        let parent = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent)?;
        // The lock is a file of its own, because the record is replaced by renaming.
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path.with_added_extension("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the last host wrote.
    pub(crate) fn read(&self) -> io::Result<Option<Record>> {
        Record::read(&self.path)
    }

    pub(crate) fn write(&self, record: &Record) -> io::Result<()> {
        let parent = self.path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(parent)?;
        file.write_all(&serde_json::to_vec_pretty(record)?)?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }

    pub(crate) fn remove(&self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "could not remove a daemon's record");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn record() -> Record {
        Record::new("mark".into(), 1234, "pw".into(), "/code".into(), "digest".into())
    }

    #[test]
    fn a_written_record_is_read_back_and_is_the_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/app.json");
        let file = RecordFile::lock(&path).unwrap();
        assert!(file.read().unwrap().is_none());
        file.write(&record()).unwrap();
        let read = file.read().unwrap().unwrap();
        assert_eq!((read.mark.as_str(), read.port), ("mark", 1234));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        file.remove();
        assert!(file.read().unwrap().is_none());
    }

    #[test]
    fn a_second_host_is_refused_while_the_first_holds_the_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.json");
        let first = RecordFile::lock(&path).unwrap();
        let Err(refused) = RecordFile::lock(&path) else { panic!("locked twice") };
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(first);
        assert!(RecordFile::lock(&path).is_ok());
    }

    #[test]
    fn a_group_counts_only_while_it_is_the_daemons_and_none_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let named = dir.path().join("daemon-mark");
        std::fs::create_dir(&named).unwrap();
        std::fs::write(named.join("cgroup.procs"), "2\n").unwrap();
        for path in [named.as_path(), dir.path(), Path::new("/sys/fs/cgroup"), Path::new("/gone/daemon-mark")]
        {
            let mut record = record();
            record.set_group(Some(Group::at(path.to_owned())));
            assert_eq!(record.group(), None, "{}", path.display());
            assert_eq!(record.family().group, None);
        }
        let written = serde_json::to_value(record()).unwrap();
        assert!(written.get("group").is_none(), "an earlier host reads it, too: {written}");
    }

    #[test]
    fn garbage_counts_as_absent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.json");
        let file = RecordFile::lock(&path).unwrap();
        for garbage in ["", "{}", "not json", r#"{"format":2}"#] {
            std::fs::write(&path, garbage).unwrap();
            assert!(file.read().unwrap().is_none(), "{garbage}");
        }
    }
}
