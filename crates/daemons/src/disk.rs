//! Room on the disk.

use std::io;
use std::path::Path;

/// How many bytes the user can still write where `path` is.
pub fn free(path: &Path) -> io::Result<u64> {
    let room = rustix::fs::statvfs(path)?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}
