//! What other programs printed, for the owner's eyes: a few files of bounded size.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::owned;

/// The size at which a new file is begun.
const FULL: u64 = 1024 * 1024;
/// How many full files are kept beside the current one.
const KEPT: u32 = 3;

/// A log that its owner alone may read. Clones write the same files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log(PathBuf);

impl Log {
    /// The log whose current file is `path`. Nothing is made before something is kept.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Its current file.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Appends lines, and begins a new file when the current one is full.
    pub fn append<S: AsRef<str>>(&self, lines: &[S]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if let Some(parent) = self.0.parent().filter(|parent| !parent.is_dir()) {
            owned::directory(parent).map_err(io::Error::other)?;
        }
        let mut file = owned::append(&self.0)?;
        if file.metadata()?.len() >= FULL {
            self.rotate()?;
            file = owned::append(&self.0)?;
        }
        let mut text = String::new();
        for line in lines {
            text.push_str(line.as_ref());
            text.push('\n');
        }
        file.write_all(text.as_bytes())
    }

    /// The last lines, of the current file and the one before; none when nothing was ever kept.
    pub fn tail(&self, lines: usize) -> io::Result<Vec<String>> {
        let mut bytes = Vec::new();
        for file in [self.numbered(1), self.0.clone()] {
            match owned::read(&file) {
                Ok(mut file) => drop(file.read_to_end(&mut bytes)?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let all: Vec<_> = text.lines().map(str::to_owned).collect();
        Ok(all[all.len().saturating_sub(lines)..].to_vec())
    }

    fn rotate(&self) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            match std::fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.0, self.numbered(1))
    }

    fn numbered(&self, number: u32) -> PathBuf {
        self.0.with_added_extension(number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_files_are_set_aside_and_the_oldest_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::at(dir.path().join("app.log"));
        let full = vec!["x".repeat(1024); 1024];
        for round in 0..6 {
            log.append(&full).unwrap();
            log.append(&[format!("round {round}")]).unwrap();
        }
        let files = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(files, 1 + KEPT as usize);
        assert_eq!(log.tail(1).unwrap(), ["round 5"]);
        assert!(log.tail(3000).unwrap().contains(&"round 4".to_owned()));
    }

    #[test]
    fn nothing_kept_is_no_lines_and_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::at(dir.path().join("below/none.log"));
        log.append::<&str>(&[]).unwrap();
        assert!(log.tail(10).unwrap().is_empty());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
