//! Where a process's output goes: a file it appends to, which we read back and keep short.
//!
//! A file and not a pipe, because a daemon may outlive its host: nobody has to drain a file, and
//! a host that dies cannot break it. The file is opened for appending, so that cutting it to
//! nothing is safe while the process writes.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt};
use std::path::Path;
use std::process::Stdio;

use connector_files::Redactor;

use crate::redact;

const TAIL_BYTES: u64 = 16 * 1024;
const DRAIN_BYTES: usize = 64 * 1024;
const TAIL_LINES: usize = 20;
/// How much of the beginning and of the end a cause is looked for in.
const PART: u64 = 32 * 1024;
/// The size at which [`OutputLog::trim`] cuts.
const CAP: u64 = 1024 * 1024;

/// The output of one process. Reading never disturbs the writer.
pub(crate) struct OutputLog {
    file: File,
    redactor: Redactor,
    /// What is before it was printed by an earlier process.
    begun: u64,
    /// Up to where [`drain`](Self::drain) has read.
    drained: u64,
}

impl OutputLog {
    /// An unnamed file that is gone with its last user.
    pub(crate) fn unnamed(redactor: Redactor) -> io::Result<Self> {
        let named = tempfile::NamedTempFile::new()?;
        let file = append(named.path())?;
        Ok(Self { file, redactor, begun: 0, drained: 0 })
    }

    /// A file readable by its owner alone; what an earlier process left in it is kept.
    pub(crate) fn at(path: &Path, redactor: Redactor) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        let file = append(path)?;
        let begun = file.metadata()?.len();
        Ok(Self { file, redactor, begun, drained: begun })
    }

    /// A handle for a child's standard output or error.
    pub(crate) fn stdio(&self) -> io::Result<Stdio> {
        Ok(self.file.try_clone()?.into())
    }

    /// The last lines since the file was opened, redacted. What cannot be read is not shown.
    pub(crate) fn tail(&self) -> Vec<String> {
        let Ok(bytes) = self.last_bytes() else { return Vec::new() };
        let text = String::from_utf8_lossy(&bytes);
        let mut lines: Vec<_> = text
            .lines()
            .map(|line| redact::line(&self.redactor, line))
            .filter(|line| !line.trim().is_empty())
            .collect();
        lines.split_off(lines.len().saturating_sub(TAIL_LINES))
    }

    /// What was printed since the file was opened, redacted: all of it, or of much its beginning and its end. A
    /// cause may stand in either.
    pub(crate) fn whole(&self) -> Vec<String> {
        let length = self.file.metadata().map_or(0, |meta| meta.len());
        let parts = if length.saturating_sub(self.begun) <= 2 * PART {
            vec![(self.begun, 2 * PART)]
        } else {
            vec![(self.begun, PART), (length - PART, PART)]
        };
        let mut lines = Vec::new();
        for (start, most) in parts {
            let bytes = self.bytes(start, most).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            lines.extend(
                text.lines()
                    .map(|line| redact::line(&self.redactor, line))
                    .filter(|line| !line.trim().is_empty()),
            );
        }
        lines
    }

    /// The whole lines that were printed since the last time, redacted, or a note in place of what is
    /// too much; empties the file when it has grown past its cap.
    pub(crate) fn drain(&mut self) -> io::Result<Vec<String>> {
        let length = self.file.metadata()?.len();
        if length < self.drained {
            self.empty()?;
            return Ok(Vec::new());
        }
        let mut lines = Vec::new();
        if length - self.drained > CAP {
            let next = self.line_after(length - CAP, length)?;
            lines.push(format!("-- {} bytes of output are left out here", next - self.drained));
            self.drained = next;
        }
        while self.drained < length && self.drain_some(&mut lines)? {}
        if length > CAP {
            self.empty()?;
        }
        Ok(lines)
    }

    /// Where the next whole line begins, or `end`: what is cut in half is not known as a secret.
    fn line_after(&self, mut from: u64, end: u64) -> io::Result<u64> {
        let mut bytes = vec![0; DRAIN_BYTES];
        while from < end {
            let read = self.file.read_at(&mut bytes, from)?;
            if read == 0 {
                break;
            }
            if let Some(newline) = bytes[..read].iter().position(|byte| *byte == b'\n') {
                return Ok(from + newline as u64 + 1);
            }
            from += read as u64;
        }
        Ok(end)
    }

    /// Reads on; false when no whole line is left.
    fn drain_some(&mut self, lines: &mut Vec<String>) -> io::Result<bool> {
        let mut bytes = vec![0; DRAIN_BYTES];
        let read = self.file.read_at(&mut bytes, self.drained)?;
        bytes.truncate(read);
        let whole = match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(newline) => newline + 1,
            None if read == DRAIN_BYTES => read,
            None => 0,
        };
        self.drained += whole as u64;
        let text = String::from_utf8_lossy(&bytes[..whole]);
        lines.extend(text.lines().map(|line| redact::line(&self.redactor, line)));
        Ok(whole > 0)
    }

    /// Empties the file when it has grown past its cap.
    pub(crate) fn trim(&mut self) {
        let grown = self.file.metadata().is_ok_and(|meta| meta.len() > CAP);
        if grown && let Err(error) = self.empty() {
            tracing::debug!(%error, "could not shorten a daemon's output");
        }
    }

    fn empty(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        (self.begun, self.drained) = (0, 0);
        Ok(())
    }

    fn last_bytes(&self) -> io::Result<Vec<u8>> {
        self.bytes(self.file.metadata()?.len().saturating_sub(TAIL_BYTES).max(self.begun), TAIL_BYTES)
    }

    fn bytes(&self, mut start: u64, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(most).unwrap_or_default()];
        let mut filled = 0;
        while filled < bytes.len() {
            let read = self.file.read_at(&mut bytes[filled..], start)?;
            if read == 0 {
                break;
            }
            filled += read;
            start += read as u64;
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

fn append(path: &Path) -> io::Result<File> {
    connector_files::owned::append(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_tail_is_the_last_lines_redacted() {
        let mut redactor = Redactor::default();
        redactor.add("hunter22");
        let mut output_log = OutputLog::unnamed(redactor).unwrap();
        for n in 0..2000 {
            writeln!(output_log.file, "line {n} hunter22").unwrap();
        }
        let tail = output_log.tail();
        assert_eq!(tail.len(), TAIL_LINES);
        assert_eq!(tail.last().unwrap(), "line 1999 [redacted]");
    }

    #[test]
    fn of_much_that_was_printed_the_beginning_and_the_end_are_looked_at() {
        let mut output_log = OutputLog::unnamed(Redactor::default()).unwrap();
        writeln!(output_log.file, "first\n{}last", "x\n".repeat(1000)).unwrap();
        assert_eq!(output_log.whole().len(), 1002);
        writeln!(output_log.file, "{}very last", "y\n".repeat(100_000)).unwrap();
        let lines = output_log.whole();
        assert_eq!((lines[0].as_str(), lines.last().unwrap().as_str()), ("first", "very last"));
        assert!(lines.len() < 40_000);
    }

    #[test]
    fn draining_gives_each_whole_line_once() {
        let mut output_log = OutputLog::unnamed(Redactor::default()).unwrap();
        write!(output_log.file, "one\ntwo\nthr").unwrap();
        assert_eq!(output_log.drain().unwrap(), ["one", "two"]);
        assert!(output_log.drain().unwrap().is_empty());
        writeln!(output_log.file, "ee").unwrap();
        assert_eq!(output_log.drain().unwrap(), ["three"]);
    }

    #[test]
    fn a_flood_is_left_out_with_a_note_and_does_not_stay() {
        let mut output_log = OutputLog::unnamed(Redactor::default()).unwrap();
        let text = "x\n".repeat(1_000_000) + "last\n";
        write!(output_log.file, "{text}half").unwrap();
        let lines = output_log.drain().unwrap();
        assert!(lines[0].contains("bytes of output are left out"), "{}", lines[0]);
        assert_eq!(lines.last().unwrap(), "last");
        assert!(lines.iter().map(String::len).sum::<usize>() as u64 <= CAP);
        assert_eq!(output_log.file.metadata().unwrap().len(), 0);
        writeln!(output_log.file, "after").unwrap();
        assert_eq!(output_log.drain().unwrap(), ["after"]);
    }

    #[test]
    fn what_is_left_out_ends_with_a_line_so_that_no_half_of_a_secret_is_kept() {
        let mut redactor = Redactor::default();
        redactor.add("hunter22");
        let mut output_log = OutputLog::unnamed(redactor).unwrap();
        let kept = usize::try_from(CAP).unwrap();
        let text = format!("hunter22\n{}last\n", "x\n".repeat((kept - "ter22\nlast\n".len()) / 2));
        write!(output_log.file, "{}{text}", "x\n".repeat(10)).unwrap();
        let lines = output_log.drain().unwrap();
        assert!(lines[0].contains("bytes of output are left out"), "{}", lines[0]);
        assert_eq!((lines[1].as_str(), lines.last().unwrap().as_str()), ("x", "last"));
    }

    #[test]
    fn what_an_earlier_process_printed_is_not_in_the_tail() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut first = OutputLog::at(&path, Redactor::default()).unwrap();
        writeln!(first.file, "listening on 1").unwrap();
        let mut second = OutputLog::at(&path, Redactor::default()).unwrap();
        assert!(second.tail().is_empty());
        second.file.write_all(&vec![b'x'; 2 * 1024 * 1024]).unwrap();
        second.trim();
        writeln!(second.file, "mine").unwrap();
        assert_eq!(second.tail(), ["mine"]);
    }

    #[test]
    fn a_grown_file_is_emptied_and_written_on() {
        let mut output_log = OutputLog::unnamed(Redactor::default()).unwrap();
        output_log.file.write_all(&vec![b'x'; 2 * 1024 * 1024]).unwrap();
        output_log.trim();
        writeln!(output_log.file, "after").unwrap();
        assert_eq!(output_log.tail(), ["after"]);
    }
}
