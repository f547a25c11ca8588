//! One host for each state directory.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
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
        if file.try_lock().is_err() {
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

/// The process of the host that runs with the state of `directory`; 0 where it has not said yet.
pub fn holder(directory: &Path) -> Option<u32> {
    let mut file = File::open(directory.join("host.lock")).ok()?;
    // Taken and given back at once where nobody has it.
    file.try_lock_shared().err()?;
    let mut holder = String::new();
    file.read_to_string(&mut holder).ok()?;
    Some(holder.trim().parse().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_runs_is_seen_and_one_that_ended_is_not() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(holder(state.path()), None);
        let lock = HostLock::take(state.path()).unwrap();
        assert_eq!(holder(state.path()), Some(std::process::id()));
        drop(lock);
        assert_eq!(holder(state.path()), None);
    }
}
