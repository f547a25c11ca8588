//! The kept output of one workspace's daemons: redacted lines in a few files of bounded size.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The size at which a new file is begun.
const FULL: u64 = 1024 * 1024;
/// How many full files are kept beside the current one.
const KEPT: u32 = 3;

/// The current log file of a workspace.
pub(super) fn path(state: &Path, workspace: &str) -> PathBuf {
    state.join(format!("{workspace}.log"))
}

/// Appends lines, and begins a new file when the current one is full.
pub(super) fn append(path: &Path, lines: &[String]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut file = open(path)?;
    if file.metadata()?.len() >= FULL {
        rotate(path)?;
        file = open(path)?;
    }
    let mut text = lines.join("\n");
    text.push('\n');
    file.write_all(text.as_bytes())
}

/// The last lines, of the current file and the one before; none when nothing was ever printed.
pub(super) fn tail(path: &Path, lines: usize) -> io::Result<Vec<String>> {
    let mut text = String::new();
    for file in [numbered(path, 1), path.to_owned()] {
        match std::fs::read(&file) {
            Ok(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let all: Vec<_> = text.lines().map(str::to_owned).collect();
    Ok(all[all.len().saturating_sub(lines)..].to_vec())
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn rotate(path: &Path) -> io::Result<()> {
    for number in (1..KEPT).rev() {
        match std::fs::rename(numbered(path, number), numbered(path, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(path, numbered(path, 1))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    path.with_added_extension(number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_files_are_set_aside_and_the_oldest_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), "app");
        let long = vec!["x".repeat(1024); 1024];
        for round in 0..6 {
            append(&path, &long).unwrap();
            append(&path, &[format!("round {round}")]).unwrap();
        }
        let files = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(files, 1 + KEPT as usize);
        assert_eq!(tail(&path, 1).unwrap(), ["round 5"]);
        assert!(tail(&path, 3000).unwrap().contains(&"round 4".to_owned()));
    }

    #[test]
    fn nothing_printed_is_no_lines() {
        let dir = tempfile::tempdir().unwrap();
        assert!(tail(&path(dir.path(), "none"), 10).unwrap().is_empty());
    }
}
