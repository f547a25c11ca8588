//! Room on the disk.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// How many bytes the user can still write where `path` is.
pub fn free(path: &Path) -> io::Result<u64> {
    let room = rustix::fs::statvfs(path)?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}

/// How many bytes are held at and below these places, up to somewhat more than `most`; no link is followed. What is too deep
/// to be looked at is more.
pub(crate) fn held(places: &[PathBuf], most: u64) -> u64 {
    const BLOCK: u64 = 512;
    let (mut pending, mut held) = (places.to_vec(), 0_u64);
    while let Some(path) = pending.pop() {
        let found = match path.symlink_metadata() {
            Ok(found) => found,
            Err(error) if error.raw_os_error() == Some(Errno::NAMETOOLONG.raw_os_error()) => {
                return most.saturating_add(1);
            }
            Err(_) => continue,
        };
        held = held.saturating_add(found.blocks().saturating_mul(BLOCK));
        if held > most {
            break;
        }
        if found.is_dir() {
            let below = std::fs::read_dir(&path).into_iter().flatten().flatten();
            pending.extend(below.map(|entry| entry.path()));
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_without_links_and_to_its_depth() {
        let root = tempfile::tempdir().unwrap();
        let (here, outside) = (root.path().join("here"), root.path().join("outside"));
        std::fs::create_dir_all(here.join("below")).unwrap();
        std::fs::write(&outside, vec![1; 4 << 20]).unwrap();
        std::os::unix::fs::symlink(&outside, here.join("link")).unwrap();
        let places = [here.clone(), root.path().join("gone")];
        assert!(held(&places, u64::MAX) < 1 << 20);
        std::fs::write(here.join("below/file"), vec![1; 2 << 20]).unwrap();
        assert!(held(&places, u64::MAX) >= 2 << 20);
        assert!(held(&places, 1 << 20) > 1 << 20);

        // Made level by level, since no path is as long.
        let name = "d".repeat(200);
        let mut at = rustix::fs::open(&here, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
        for _ in 0..30 {
            rustix::fs::mkdirat(&at, &name, rustix::fs::Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, &name, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())
                .unwrap();
        }
        assert!(held(&places, 64 << 20) > 64 << 20);
    }
}
