//! One host for each state directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

use super::LedgerError;

/// Held for as long as the host runs; the system frees it when the process
/// ends, however it ends.
#[derive(Debug)]
pub struct HostLock {
    _file: File,
}

impl HostLock {
    /// Takes the lock of `directory`, or says who has it.
    pub fn take(directory: &Path) -> Result<Self, LedgerError> {
        let path = directory.join("host.lock");
        let cannot =
            |source: std::io::Error| LedgerError::Open { path: path.clone(), source: Box::new(source) };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(cannot)?;
        if is_taken(file.try_lock()).map_err(cannot)? {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder =
                if holder.trim().is_empty() { "unknown".to_owned() } else { holder.trim().to_owned() };
            return Err(LedgerError::Held { path: directory.to_owned(), holder });
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(cannot)?;
        writeln!(file, "{}", std::process::id()).and_then(|()| file.flush()).map_err(cannot)?;
        Ok(Self { _file: file })
    }
}

/// The process of the host that runs with the state of `directory`, if one does; an error where that cannot be seen.
pub fn holder(directory: &Path) -> io::Result<Option<u32>> {
    let mut file = match File::open(directory.join("host.lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    // Taken and given back at once where nobody has it.
    if !is_taken(file.try_lock_shared())? {
        return Ok(None);
    }
    let mut holder = String::new();
    file.read_to_string(&mut holder)?;
    match holder.trim().parse() {
        Ok(process @ 1..) => Ok(Some(process)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a host runs that has not said its process")),
    }
}

/// Whether another has a lock, which no other failure says.
fn is_taken(locked: Result<(), TryLockError>) -> io::Result<bool> {
    match locked {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_runs_is_seen_and_one_that_ended_is_not() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(holder(state.path()).unwrap(), None);
        let lock = HostLock::take(state.path()).unwrap();
        assert_eq!(holder(state.path()).unwrap(), Some(std::process::id()));
        drop(lock);
        assert_eq!(holder(state.path()).unwrap(), None);
    }

    #[test]
    fn a_host_that_does_not_say_its_process_is_neither_none_nor_any() {
        let state = tempfile::tempdir().unwrap();
        let _lock = HostLock::take(state.path()).unwrap();
        for said in ["", "0", "-1", "4294967296", "host"] {
            std::fs::write(state.path().join("host.lock"), said).unwrap();
            assert_eq!(holder(state.path()).unwrap_err().kind(), io::ErrorKind::InvalidData, "{said:?}");
        }
    }

    #[test]
    fn a_lock_that_cannot_be_tried_or_read_is_nobodys_and_not_taken() {
        assert!(!is_taken(Ok(())).unwrap());
        assert!(is_taken(Err(TryLockError::WouldBlock)).unwrap());
        for errno in [rustix::io::Errno::NOLCK, rustix::io::Errno::IO, rustix::io::Errno::INTR] {
            let error = is_taken(Err(TryLockError::Error(errno.into()))).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(errno.raw_os_error()));
        }
        let state = tempfile::tempdir().unwrap();
        // One that cannot be opened at all, also by root.
        std::os::unix::fs::symlink("host.lock", state.path().join("host.lock")).unwrap();
        assert!(holder(state.path()).is_err());
        assert!(matches!(HostLock::take(state.path()), Err(LedgerError::Open { .. })));
    }
}
