//! The times and sizes that a tree's index has of its files, by which git knows what is unchanged without a look at it.
//!
//! A file of Git LFS holds something else than its commit has. With git-lfs a filter would say that it is the same; here
//! the index is told when it was written, as after a checkout by git-lfs, and no filter is asked as long as nobody touches it.

use std::collections::HashMap;

use rustix::fs::Stat;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

const HEADER: usize = 12;
/// The numbers of an entry before its object's id.
const NUMBERS: usize = 40;
/// Where the mode is among them, which is the commit's.
const MODE: std::ops::Range<usize> = 24..28;
const EXTENDED: u16 = 0x4000;

/// Writes the times and sizes of these files into an index of objects with ids of `width` bytes; nothing if it is none
/// that is understood. Its bytes may be an agent's.
pub(super) fn stamped(index: &[u8], width: usize, files: &HashMap<Vec<u8>, Stat>) -> Option<Vec<u8>> {
    let number = |at: usize| Some(u32::from_be_bytes(index.get(at..at.checked_add(4)?)?.try_into().ok()?));
    let (version, count) = (number(4)?, number(8)?);
    if !index.starts_with(b"DIRC") || !(2..=4).contains(&version) {
        return None;
    }
    let mut out = index.to_vec();
    let (mut at, mut path) = (HEADER, Vec::new());
    for _ in 0..count {
        let flags_at = at.checked_add(NUMBERS + width)?;
        let flags = u16::from_be_bytes(index.get(flags_at..flags_at + 2)?.try_into().ok()?);
        let begins = flags_at + if flags & EXTENDED == 0 { 2 } else { 4 };
        let (begins, kept) = if version == 4 { stripped(index, begins, path.len())? } else { (begins, 0) };
        let length = index.get(begins..)?.iter().position(|byte| *byte == 0)?;
        path.truncate(kept);
        path.extend_from_slice(&index[begins..begins + length]);
        if let Some(stat) = files.get(&path) {
            let numbers = numbers(stat);
            out[at..at + MODE.start].copy_from_slice(&numbers[..MODE.start]);
            out[at + MODE.end..at + NUMBERS].copy_from_slice(&numbers[MODE.end..]);
        }
        // An entry of the older versions ends at a multiple of eight bytes, with one zero at least.
        let end = begins + length;
        at = if version == 4 { end + 1 } else { at + (end - at + 8) / 8 * 8 };
    }
    let end = out.len().checked_sub(width).filter(|end| at <= *end)?;
    let (body, sum) = out.split_at_mut(end);
    match width {
        20 => sum.copy_from_slice(&Sha1::digest(&*body)),
        32 => sum.copy_from_slice(&Sha256::digest(&*body)),
        _ => return None,
    }
    Some(out)
}

/// Where the rest of a name begins in version 4, and how much of the name before it is kept: all but as many bytes as a
/// number of git's kind says.
fn stripped(index: &[u8], mut at: usize, before: usize) -> Option<(usize, usize)> {
    let mut byte = *index.get(at)?;
    let mut count = usize::from(byte & 0x7f);
    while byte & 0x80 != 0 {
        at += 1;
        byte = *index.get(at)?;
        count = count.checked_add(1)?.checked_mul(128)?.checked_add(usize::from(byte & 0x7f))?;
    }
    Some((at + 1, before.checked_sub(count)?))
}

/// As git keeps them: the lower 32 bits of each.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is git's format")]
fn numbers(stat: &Stat) -> [u8; NUMBERS] {
    let numbers = [
        stat.st_ctime as u32,
        stat.st_ctime_nsec as u32,
        stat.st_mtime as u32,
        stat.st_mtime_nsec as u32,
        stat.st_dev as u32,
        stat.st_ino as u32,
        0,
        stat.st_uid,
        stat.st_gid,
        stat.st_size as u32,
    ];
    let mut bytes = [0; NUMBERS];
    for (place, number) in bytes.chunks_exact_mut(4).zip(numbers) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use testkit::scratch::git;

    use super::*;

    fn made(root: &Path, format: &str, version: &str) {
        git(root, &["init", "--quiet", &format!("--object-format={format}")]).unwrap();
        std::fs::create_dir(root.join("in")).unwrap();
        for name in ["a", "in/large", "in/larger", "z"] {
            std::fs::write(root.join(name), "pointer\n").unwrap();
        }
        git(root, &["update-index", "--index-version", version]).unwrap();
        git(root, &["add", "--all"]).unwrap();
        git(root, &["commit", "--quiet", "--message=Start"]).unwrap();
        if version == "3" {
            git(root, &["update-index", "--skip-worktree", "a"]).unwrap();
        }
    }

    #[test]
    fn git_takes_a_stamped_file_for_unchanged_and_the_index_for_whole() {
        for (format, width) in [("sha1", 20), ("sha256", 32)] {
            for version in ["2", "3", "4"] {
                let root = tempfile::tempdir().unwrap();
                let root = root.path();
                made(root, format, version);
                std::fs::write(root.join("in/large"), "content").unwrap();
                assert_eq!(git(root, &["status", "--porcelain"]).unwrap(), " M in/large\n");
                let stat = rustix::fs::stat(root.join("in/large")).unwrap();
                let files = HashMap::from([(b"in/large".to_vec(), stat)]);
                let index = std::fs::read(root.join(".git/index")).unwrap();
                std::fs::write(root.join(".git/index"), stamped(&index, width, &files).unwrap()).unwrap();
                let file = std::fs::File::options().write(true).open(root.join(".git/index")).unwrap();
                let later =
                    root.join("in/large").metadata().unwrap().modified().unwrap() + Duration::from_secs(2);
                file.set_modified(later).unwrap();
                assert_eq!(git(root, &["status", "--porcelain"]).unwrap(), "", "{format}, {version}");
                git(root, &["fsck", "--strict"]).unwrap();
                for end in 0..index.len() {
                    // An agent may have cut it anywhere.
                    let _ = stamped(&index[..end], width, &files);
                }
                assert!(stamped(&index[1..], width, &files).is_none());
            }
        }
    }
}
